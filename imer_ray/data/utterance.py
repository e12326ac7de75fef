"""Real CMU-MOSI as utterance features: a clip's sequence is what surrounds it in its video and, last, the clip itself.

Zadeh et al., MOSI: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis in Online Opinion Videos,
arXiv:1606.06259 (2016). One row of the table is one clip with a vector per modality.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.config.typed_text import FilePath
from imer_ray.data import feature_names, table_columns
from imer_ray.data.context import VideoSpans, past_windows
from imer_ray.data.dataset import SPLITS, Dataset, Split, settings_fingerprint, standardisation
from imer_ray.data.lexicon import vader
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.files import sha256, write_whole
from imer_ray.received import check_file, one_line

COLUMNS = {"l": "text", "a": "audio", "v": "vision"}
WIDTHS = {"text": 384, "audio": 73, "vision": 100}
PLAIN = ("video_id", "clip", "label", "vision_clean")
TRANSCRIPT, FINETUNED = "raw_text", "finetuned"
LEXICONS = {"none": None, "vader": vader}
LANGUAGE_NAMES = {"none": feature_names.MINILM, "vader": feature_names.MINILM_VADER}
CONTEXTS = ("video", "past")
SPLIT_COLUMNS = {"speaker": "split", "official": "split_official"}
OFFICIAL_VALID_SHARE = 1 / 10
MAX_FRAMES = 1000  # of a clip's sequence; no video has as many clips


@dataclass(frozen=True)
class MosiUtterance:
    """The table ``clips.parquet``; the label is the sign of the sentiment.

    Vision counts as recorded only where ``vision_clean`` says so: elsewhere its features come from a network trained on
    the labels of these very clips. What `python -m imer_ray.finetune` added to the table for this split is read
    beside the other language features. The official training videos have no clean vision at all, so with
    ``split="official"`` vision is never used, and validation videos are held out from the official training videos.

    Attributes:
        path: where the table lies.
        split: "speaker" (the table's own train, valid and test) or "official" (as in Poria et al., ACL 2017).
        num_frames: length L of a clip's sequence, whose last frame is the clip itself.
        context: what the L - 1 frames before it are: "video" (means over as many spans of the video's other clips, in
            order) or "past" (its predecessors, as far as the video has them; nothing later is known).
        lexicon: "vader" (its four scores of the transcript, beside the table's text features) or "none".
    """

    path: FilePath | None = None
    split: str = "speaker"
    num_frames: int = 8
    context: str = "video"
    lexicon: str = "vader"

    def __post_init__(self) -> None:
        if self.split not in SPLIT_COLUMNS:
            raise ValueError(f"split must be one of {', '.join(SPLIT_COLUMNS)}, not {self.split!r}")
        if self.context not in CONTEXTS:
            raise ValueError(f"context must be one of {', '.join(CONTEXTS)}, not {self.context!r}")
        if self.lexicon not in LEXICONS:
            raise ValueError(f"lexicon must be one of {', '.join(LEXICONS)}, not {self.lexicon!r}")
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, not {self.num_frames}")
        if self.num_frames > MAX_FRAMES:
            raise ValueError(f"num_frames must be at most {MAX_FRAMES}, not {self.num_frames}")

    def fingerprint(self) -> str:
        settings = {name: value for name, value in asdict(self).items() if name != "path"}
        return settings_fingerprint(kind="mosi_utterance", content=sha256(self._file()), **settings)

    def load(self) -> Dataset:
        read = LEXICONS[self.lexicon]
        table = read_table(self._file(), self.split, (TRANSCRIPT,) if read else ())
        if read:
            table["text"] = np.concatenate([table["text"], read(table[TRANSCRIPT])], axis=1)
        if FINETUNED in table:
            table["text"] = np.concatenate([table["text"], table[FINETUNED]], axis=1)
        split_of = assigned_splits(table, self.split)
        for name in SPLITS:
            if not (split_of == name).any():
                raise UserError(f"{self.path}: the split {name!r} has no clip")
        recorded = np.ones((len(split_of), len(MODALITIES)), bool)
        recorded[:, MODALITIES.index("v")] = table["vision_clean"] & (self.split == "speaker")
        N, S = len(split_of), self.num_frames - 1
        windows = past_windows(table["video_id"], self.num_frames)
        spans = VideoSpans(table["video_id"], S) if self.context == "video" else None
        if spans:  # their means follow the N clips and the empty row
            windows[:, :-1] = N + 1 + torch.arange(N * S).view(N, S)

        gather, present, statistics = {}, {}, {}
        for i, m in enumerate(MODALITIES):
            raw, known = torch.from_numpy(table[COLUMNS[m]]), torch.from_numpy(recorded[:, i])
            statistics[m] = standardisation(raw[known & torch.from_numpy(split_of == "train")])
            rows = raw.masked_fill(~known[:, None], 0.0)
            # Row N, where windows point before a video's first clip, is zero and absent.
            parts = [(rows, known), (rows.new_zeros(1, rows.shape[1]), known.new_zeros(1))]
            if spans:
                means, there = spans.means(rows, known)
                parts.append((means.flatten(0, 1), there.flatten()))
            rows, known = (torch.cat(column) for column in zip(*parts, strict=True))
            gather[m], present[m] = rows, known[windows]

        splits = {}
        for name in SPLITS:
            chosen = torch.from_numpy(np.flatnonzero(split_of == name))
            splits[name] = Split(
                gather={m: functools.partial(_window_features, gather[m], windows[chosen]) for m in MODALITIES},
                frames={m: present[m][chosen] for m in MODALITIES},
                recorded=torch.from_numpy(recorded)[chosen],
                labels=torch.from_numpy(table["label"]).float()[chosen] * 2 - 1,
            )
        return Dataset(
            dims={m: table[COLUMNS[m]].shape[1] for m in MODALITIES},
            lengths=dict.fromkeys(MODALITIES, self.num_frames),
            label_kind="binary",
            fingerprint=self.fingerprint(),
            splits=splits,
            statistics=statistics,
            at_the_end=frozenset(MODALITIES),
            feature_names={
                "l": None if FINETUNED in table else LANGUAGE_NAMES[self.lexicon],
                "a": feature_names.POERIA_AUDIO,
                "v": feature_names.POERIA_VISION,
            },
        )

    def _file(self) -> Path:
        if self.path is None:
            raise UserError("data=mosi_utterance needs the table: data.path=<folder>/clips.parquet")
        check_file(Path(self.path), f"data.path={self.path}", "no such file; give the path of clips.parquet")
        return Path(self.path)


def _window_features(rows: Tensor, windows: Tensor, indices: Tensor) -> Tensor:
    return rows[windows[indices]]


def finetuned_column(split: str) -> str:
    """What a fine-tuned sentence encoder made of each clip: fit for the split alone that it was fine-tuned for."""
    return f"text_{split}"


def read_table(path: Path, split: str, more: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """The table's columns, and ``more``, checked, in order of video and clip; the split's column is called ``split``,
    and that of its fine-tuned language features, where the table has them, ``finetuned``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    split_column, finetuned = SPLIT_COLUMNS[split], finetuned_column(split)
    try:
        file = pq.ParquetFile(path)
        found = file.schema_arrow.names
        plain = (*PLAIN, split_column, *more)
        if absent := [c for c in (*plain, *WIDTHS) if c not in found]:
            raise UserError(f"{path}: no column {', '.join(absent)}; this is not the table of utterance features")
        if twice := [c for c in (*plain, *WIDTHS, finetuned) if found.count(c) > 1]:
            raise UserError(f"{path}: column {', '.join(twice)} is there twice; remove one of them")
        if not 0 < (num_clips := file.metadata.num_rows) <= table_columns.MAX_CLIPS:
            raise UserError(
                f"{path}: the table holds {num_clips or 'no'} clips; 1 to {table_columns.MAX_CLIPS} are read"
            )
        widths = {**WIDTHS, **({finetuned: WIDTHS["text"]} if finetuned in found else {})}
        table = file.read([*plain, *widths]).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged or not a parquet file ({one_line(error)})") from error

    columns: dict[str, NDArray[Any]] = {
        "video_id": table_columns.text_or_number(path, table, "video_id"),
        "clip": table_columns.whole_numbers(path, table, "clip"),
        "label": table_columns.two_classes(path, table, "label"),
        "vision_clean": table_columns.true_or_false(path, table, "vision_clean"),
        "split": table_columns.split_names(path, table, split_column),
        **{name: table_columns.text(path, table, name) for name in more},
    }
    for name, width in widths.items():
        columns[FINETUNED if name == finetuned else name] = table_columns.vectors(path, table, name, width)
    order = _in_order(columns["video_id"], columns["clip"])
    columns = {name: values[order] for name, values in columns.items()}
    repeated = (columns["video_id"][1:] == columns["video_id"][:-1]) & (columns["clip"][1:] == columns["clip"][:-1])
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise UserError(f"{path}: clip {columns['clip'][row]} of video {columns['video_id'][row]} appears twice")
    return columns


def write_finetuned(path: Path, output: Path, split: str, features: NDArray[np.float32]) -> None:
    """Write the table at ``path`` with language features [N, 384], ordered as by `read_table`; whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, name = pq.read_table(path), finetuned_column(split)
    rows = np.empty_like(features)
    rows[_in_order(table["video_id"].to_numpy(), table["clip"].to_numpy())] = features
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), features.shape[1])
    if name in table.column_names:
        table = table.drop_columns([name])
    sink = pa.BufferOutputStream()
    pq.write_table(table.append_column(name, column), sink)
    write_whole(output, sink.getvalue().to_pybytes())


def _in_order(video_id: NDArray[Any], clip: NDArray[Any]) -> NDArray[np.int64]:
    """The rows in order of video and clip."""
    return np.lexsort((clip, video_id.astype(str)))


def assigned_splits(table: Mapping[str, NDArray[Any]], split: str) -> NDArray[Any]:
    """[N]: train, valid or test, for a table that was read for ``split``."""
    return table["split"] if split == "speaker" else hold_out_valid(table["split"], table["video_id"])


def hashed_order(names: NDArray[Any]) -> list[int]:
    """Indices of the names in the order of their SHA-256: as good as random, and the same everywhere."""
    hashes = [hashlib.sha256(str(name).encode()).hexdigest() for name in names]
    return sorted(range(len(names)), key=hashes.__getitem__)


def hold_out_valid(split: NDArray[Any], video_id: NDArray[Any]) -> NDArray[Any]:
    """Move whole training videos to valid, in the order of a hash of their names, until a tenth of the clips is."""
    videos, counts = np.unique(video_id[split == "train"].astype(str), return_counts=True)
    order = hashed_order(videos)
    before = np.cumsum(counts[order]) - counts[order]
    held_out = videos[order][before < OFFICIAL_VALID_SHARE * counts.sum()]
    return np.where(np.isin(video_id.astype(str), held_out), "valid", split)

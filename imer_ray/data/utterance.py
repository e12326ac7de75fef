"""Real CMU-MOSI as utterance features: a clip's sequence is what surrounds it in its video and, last, the clip itself.

Zadeh et al., MOSI: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis in Online Opinion Videos,
arXiv:1606.06259 (2016). One row of the table is one clip with a vector per modality.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.config.typed_text import FilePath
from imer_ray.data import feature_names
from imer_ray.data.context import Surrounded
from imer_ray.data.dataset import SPLITS, Dataset, Split, settings_fingerprint, standardisation
from imer_ray.data.lexicon import SCORES, vader
from imer_ray.data.missing import MODALITIES
from imer_ray.data.utterance_table import (
    COLUMNS,
    FINETUNED,
    ROW,
    SPLIT_COLUMNS,
    TRANSCRIPT,
    WIDTHS,
    finetuned_column,
    read_table,
    read_unlabelled,
)
from imer_ray.errors import UserError
from imer_ray.files import sha256
from imer_ray.received import check_file

LEXICONS = {"none": None, "vader": vader}
LANGUAGE_NAMES = {"none": feature_names.MINILM, "vader": feature_names.MINILM_VADER}
CONTEXTS = ("video", "past")
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
        table = read_table(self._file(), self.split, self._texts)
        split_of = assigned_splits(table, self.split)
        for name in SPLITS:
            if not (split_of == name).any():
                raise UserError(f"{self.path}: the split {name!r} has no clip")
        clips = self._surrounded(table)
        train = torch.from_numpy(split_of == "train")
        splits = {}
        for name in SPLITS:
            chosen = torch.from_numpy(np.flatnonzero(split_of == name))
            splits[name] = Split(
                gather={m: functools.partial(_chosen_features, clips, m, chosen) for m in MODALITIES},
                frames={m: clips.frames(m)[chosen] for m in MODALITIES},
                recorded=torch.stack([clips.recorded[m] for m in MODALITIES], 1)[chosen],
                labels=torch.from_numpy(table["label"]).float()[chosen] * 2 - 1,
            )
        return Dataset(
            dims={m: clips.features[m].shape[1] for m in MODALITIES},
            lengths=dict.fromkeys(MODALITIES, self.num_frames),
            label_kind="binary",
            fingerprint=self.fingerprint(),
            splits=splits,
            statistics={m: standardisation(clips.features[m][clips.recorded[m] & train]) for m in MODALITIES},
            at_the_end=frozenset(MODALITIES),
            feature_names={
                "l": None if FINETUNED in table else LANGUAGE_NAMES[self.lexicon],
                "a": feature_names.POERIA_AUDIO,
                "v": feature_names.POERIA_VISION,
            },
        )

    def is_table(self, columns: Sequence[str]) -> bool:
        """Whether a table with these columns is one of utterances."""
        return {"video_id", "clip"} <= set(columns) and not set(COLUMNS.values()).isdisjoint(columns)

    def clips(self, path: Path, widths: Mapping[str, int]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The clips of another table, in its order, each in its context: its ``id`` (or video and clip), and for each
        modality of ``widths`` features [L, D] and which frames [L] are known, or None.

        Labels and splits are not needed. Which language features are read follows from their width.
        """
        columns = {COLUMNS[m]: WIDTHS[COLUMNS[m]] for m in widths}
        texts = self._texts if "l" in widths else ()
        finetuned = widths.get("l", 0) > WIDTHS["text"] + len(SCORES) * len(texts)
        if finetuned:
            columns[finetuned_column(self.split)] = WIDTHS["text"]
        table = read_unlabelled(path, columns, texts)
        if finetuned:
            if finetuned_column(self.split) not in table:
                raise UserError(
                    f"{path}: no column {finetuned_column(self.split)}, which python -m imer_ray.finetune adds and the "
                    "model reads"
                )
            table[FINETUNED] = table.pop(finetuned_column(self.split))
        found = self._surrounded(table)
        for clip in np.argsort(table[ROW]).tolist():
            name = table["id"][clip] if "id" in table else f"{table['video_id'][clip]}_{table['clip'][clip]}"
            yield str(name), {m: found.clip(m, clip) for m in found.features}

    @property
    def _texts(self) -> tuple[str, ...]:
        """The columns of text that are read."""
        return (TRANSCRIPT,) if LEXICONS[self.lexicon] else ()

    def _surrounded(self, table: Mapping[str, NDArray[Any]]) -> Surrounded:
        """The clips of a table, each beside what surrounds it; of vectors with NaN nothing is known."""
        features = {m: table[name] for m, name in COLUMNS.items() if name in table}
        if "l" in features:
            features["l"] = self._language(table)
        recorded = {m: ~np.isnan(x).any(1) for m, x in features.items()}
        if "v" in features:
            recorded["v"] &= table.get("vision_clean", False) & (self.split == "speaker")
        return Surrounded.of(table["video_id"], features, recorded, self.num_frames, self.context == "video")

    def _language(self, table: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        parts = [table["text"]]
        if read := LEXICONS[self.lexicon]:
            scores = read(text or "" for text in table[TRANSCRIPT])
            scores[[text is None for text in table[TRANSCRIPT]]] = np.nan
            parts.append(scores)
        return np.concatenate([*parts, *([table[FINETUNED]] if FINETUNED in table else [])], axis=1)

    def _file(self) -> Path:
        if self.path is None:
            raise UserError("data=mosi_utterance needs the table: data.path=<folder>/clips.parquet")
        check_file(Path(self.path), f"data.path={self.path}", "no such file; give the path of clips.parquet")
        return Path(self.path)


def _chosen_features(clips: Surrounded, m: str, chosen: Tensor, indices: Tensor) -> Tensor:
    return clips(m, chosen[indices])


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

"""Read the pickles of MMSA (aligned_50.pkl, unaligned_50.pkl) and check that they hold together.

Mao et al., M-SENA: An Integrated Platform for Multimodal Sentiment Analysis, ACL 2022 (demonstrations). A file is a
dictionary of the splits train, valid and test, each a dictionary of arrays whose first axis is the clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from imer_ray.data import safe_pickle
from imer_ray.data.dataset import SPLITS
from imer_ray.data.label_scale import LABELS, check_kind, check_range, label_kind, odd_labels
from imer_ray.data.missing import MODALITIES
from imer_ray.data.pickled_array import Array
from imer_ray.data.plain_values import names, numbers
from imer_ray.errors import UserError

KEYS = {"l": "text", "a": "audio", "v": "vision"}
TOKENS = "text_bert"  # [N, 3, L]: token numbers, mask, segments
MASK = 1
MAX_FEATURES = MAX_FRAMES = 2**16
MAX_VALUES = 2**22  # of a clip's modality: 128 clips are held at once
MAX_GROWTH = 8  # bytes of the store for each byte of the file; an array of half precision grows twofold


@dataclass(frozen=True)
class MmsaSplit:
    """N clips.

    Attributes:
        where: the file and the split, for errors.
        features: {m: [N, L_m, D_m]}, still in the file; of all modalities unless it was read unlabelled.
        lengths: {m: frames [N]}, for the modalities whose lengths the file gives.
        labels: float32 [N], NaN where a clip has none.
        ids: the clips' names [N], if the file gives them.
        tokens: `TOKENS` [N, 3, L_l], still in the file, if it fits the language features.
        odd: what was left unread, in words.
    """

    where: str
    features: Mapping[str, Array]
    lengths: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.float32]
    ids: list[str] | None
    tokens: Array | None = None
    odd: tuple[str, ...] = ()

    def clip(self, row: int) -> str:
        """A clip's name in an error's words."""
        return f"clip {self.ids[row]!r}" if self.ids else f"clip {row} (from 0)"

    def mask(self, start: int, stop: int) -> NDArray[Any]:
        """The mask [n, L_l] of the rows [start, stop): 0 where a token is [PAD]."""
        assert self.tokens is not None
        return self.tokens.rows(start, stop)[:, MASK]


@dataclass(frozen=True)
class MmsaFile:
    """``label_kind`` as in `imer_ray.data.dataset.Dataset`."""

    splits: Mapping[str, MmsaSplit]
    label_kind: str

    def odd(self) -> Iterator[str]:
        """What looks odd about the file, in words."""
        yield from dict.fromkeys(words for split in self.splits.values() for words in split.odd)
        yield from odd_labels({name: split.labels for name, split in self.splits.items()})
        yield from _cut(self.splits)
        yield from _repeated({name: split.ids for name, split in self.splits.items() if split.ids})


def read(path: Path, file: BinaryIO) -> MmsaFile:
    """The three splits of a file; their features read from it for as long as it is open.

    Raises:
        UserError: it is not such a file, it is damaged, or its arrays do not fit each other.
    """
    tree = safe_pickle.load(path, file)
    if not isinstance(tree, dict) or not all(isinstance(tree.get(name), dict) for name in SPLITS):
        found = f"; it holds {', '.join(map(repr, list(tree)[:8]))[:200]}" if isinstance(tree, dict) else ""
        raise UserError(f"{path}: not an MMSA file: it must hold the splits {', '.join(SPLITS)}{found}")
    for name in SPLITS:
        check_kind(f"{path}: {name}", tree[name])
        _check_keys(f"{path}: {name}", tree[name])
    labels = {name: numbers(f"{path}: {name}: {LABELS}", tree[name][LABELS]) for name in SPLITS}
    kind = label_kind(str(path), labels)
    splits = {name: _read_split(f"{path}: {name}", tree[name], labels[name]) for name in SPLITS}
    for m, key in KEYS.items():
        shapes = {name: split.features[m].shape[1:] for name, split in splits.items()}
        if len(set(shapes.values())) > 1:
            raise UserError(f"{path}: frames and features of {key} differ between splits: {shapes}")
    _check_size(path, splits, file.seek(0, 2))
    return MmsaFile(splits, kind)


def read_unlabelled(path: Path, file: BinaryIO, modalities: str) -> dict[str, MmsaSplit]:
    """The splits that a file has, each with those of the ``modalities`` that it has; labels are not needed.

    Raises:
        UserError: as of `read`.
    """
    tree = safe_pickle.load(path, file)
    found = [name for name in SPLITS if isinstance(tree, dict) and isinstance(tree.get(name), dict)]
    if not found:
        raise UserError(f"{path}: not an MMSA file: it holds none of the splits {', '.join(SPLITS)}")
    splits = {}
    for name in found:
        where, there = f"{path}: {name}", [m for m in modalities if KEYS[m] in tree[name]]
        if "l" in modalities:
            _check_text(where, tree[name])
        if not there:
            raise UserError(f"{where} holds none of {', '.join(KEYS[m] for m in modalities)}")
        count = _count(tree[name][KEYS[there[0]]])
        splits[name] = _read_split(where, tree[name], np.full(count, np.nan), there)
    return splits


def _count(array: Any) -> int:
    """The clips of an array of features; 1 if it is none, which is told elsewhere."""
    return array.shape[0] if isinstance(array, Array) and array.shape and 0 not in array.shape else 1


def _check_text(where: str, tree: Mapping[Any, Any]) -> None:
    if "text" not in tree and TOKENS in tree:
        raise UserError(
            f"{where} holds text_bert (token numbers) but no text: features are needed, so use the file with BERT's "
            "text features, or run BERT over text_bert and store the result, N x frames x 768, as text"
        )


def _check_keys(where: str, tree: Mapping[Any, Any]) -> None:
    _check_text(where, tree)
    absent = [key for key in (*KEYS.values(), LABELS) if key not in tree]
    if absent:
        raise UserError(f"{where} lacks {', '.join(absent)}; an MMSA file has {', '.join(KEYS.values())} and {LABELS}")


def _read_split(
    where: str, tree: Mapping[Any, Any], labels: NDArray[np.float64], modalities: Iterable[str] = MODALITIES
) -> MmsaSplit:
    count, odd = len(labels), []
    if count == 0:
        raise UserError(f"{where} holds no clip")
    ids = names(tree["id"]) if "id" in tree else None
    if "id" in tree and ids is None:
        odd.append("the clips' names (id) are not read: they are no list of short texts")
    features, lengths = {}, {}
    for m in modalities:
        features[m] = _features(f"{where}: {KEYS[m]}", tree[KEYS[m]], count)
        given = tree.get(f"{KEYS[m]}_lengths")
        if given is not None:
            lengths[m] = _lengths(f"{where}: {KEYS[m]}_lengths", given, count)
    if ids is not None and len(ids) != count:
        raise UserError(f"{where}: id names {len(ids)} of {count} clips")
    tokens = tree.get(TOKENS) if "l" in features else None
    wanted = (count, 3, features["l"].shape[1]) if "l" in features else ()
    if tokens is not None and not (isinstance(tokens, Array) and tokens.shape == wanted and tokens.dtype.kind in "fiu"):
        tokens = None
        odd.append(f"{TOKENS} is not read: it is no array of clips x 3 x frames of text, so that [PAD] is not told")
    split = MmsaSplit(where, features, lengths, labels.astype(np.float32), ids, tokens, tuple(odd))
    check_range(where, labels, split.clip)
    return split


def _features(where: str, array: Any, count: int) -> Array:
    if not isinstance(array, Array) or array.dtype.kind not in "fiu" or len(array.shape) != 3:
        raise UserError(f"{where} must be an array of numbers, clips x frames x features")
    if array.shape[0] != count or 0 in array.shape:
        raise UserError(f"{where} has the shape {array.shape}, which does not fit {count} clips")
    _, num_frames, num_features = array.shape
    if num_frames > MAX_FRAMES or num_features > MAX_FEATURES or num_frames * num_features > MAX_VALUES:
        raise UserError(
            f"{where} has {num_frames} frames of {num_features} features a clip; at most {MAX_FRAMES} frames, "
            f"{MAX_FEATURES} features and {MAX_VALUES} numbers a clip are read"
        )
    return array


def _lengths(where: str, given: Any, count: int) -> NDArray[np.int64]:
    found = numbers(where, given)
    if len(found) != count or not (np.isfinite(found) & (found >= 0) & (found == np.floor(found))).all():
        raise UserError(f"{where} must give a whole number of frames, 0 or more, for each of the {count} clips")
    return found.clip(max=2**31).astype(np.int64)


def _check_size(path: Path, splits: Mapping[str, MmsaSplit], num_bytes: int) -> None:
    """Refuse a file of which a store many times its size would be made, as when one array stands for all."""
    values = sum(int(np.prod(x.shape, dtype=object)) for split in splits.values() for x in split.features.values())
    if values * 4 > MAX_GROWTH * num_bytes:
        raise UserError(
            f"{path} has {num_bytes / 1e6:.1f} MB, and its arrays would fill {values * 4 / 1e6:.1f} MB: the same "
            f"numbers stand for several arrays; at most {MAX_GROWTH} times a file's size is written"
        )


def _cut(splits: Mapping[str, MmsaSplit]) -> Iterator[str]:
    for name, split in splits.items():
        for m, lengths in split.lengths.items():
            num_frames = split.features[m].shape[1]
            if longer := int((lengths > num_frames).sum()):
                yield f"{longer} clips of {name} had more frames than the {num_frames} of {KEYS[m]} that the file keeps"


def _repeated(ids: Mapping[str, list[str]]) -> Iterator[str]:
    """Clips of the same name, within a split and in two."""
    for name, found in ids.items():
        if twice := [clip for clip, times in Counter(found).items() if times > 1]:
            yield f"{len(twice)} clips of {name} have a name that another has, the first {twice[0]!r}"
    for i, name in enumerate(SPLITS):
        for other in SPLITS[i + 1 :]:
            there = set(ids.get(name, ()))
            if both := [clip for clip in dict.fromkeys(ids.get(other, ())) if clip in there]:
                yield f"{len(both)} clips of {other} are in {name} too, by their names, the first {both[0]!r}"

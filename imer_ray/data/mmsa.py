"""Read the pickles of MMSA (aligned_50.pkl, unaligned_50.pkl) and check that they hold together.

Mao et al., M-SENA: An Integrated Platform for Multimodal Sentiment Analysis, ACL 2022 (demonstrations). A file is a
dictionary of the splits train, valid and test, each a dictionary of arrays whose first axis is the clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from imer_ray.data import safe_pickle
from imer_ray.data.dataset import SPLITS
from imer_ray.data.missing import MODALITIES
from imer_ray.data.pickled_array import Array
from imer_ray.errors import UserError

KEYS = {"l": "text", "a": "audio", "v": "vision"}
LABELS = "regression_labels"
LABEL_LIMIT = 3.0


@dataclass(frozen=True)
class MmsaSplit:
    """N clips.

    Attributes:
        features: {m: [N, L_m, D_m]}, still in the file.
        lengths: {m: frames [N]}, for the modalities whose lengths the file gives.
        labels: float32 [N], NaN where a clip has none.
        ids: the clips' names [N], if the file gives them as strings.
    """

    features: Mapping[str, Array]
    lengths: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.float32]
    ids: list[str] | None


def read(path: Path, file: BinaryIO) -> dict[str, MmsaSplit]:
    """The three splits of a file; their features read from it for as long as it is open.

    Raises:
        UserError: it is not such a file, it is damaged, or its arrays do not fit each other.
    """
    tree = safe_pickle.load(path, file)
    if not isinstance(tree, dict) or not all(isinstance(tree.get(name), dict) for name in SPLITS):
        raise UserError(f"{path}: not an MMSA file: it must hold the splits {', '.join(SPLITS)}")
    splits = {name: _read_split(f"{path}: {name}", tree[name]) for name in SPLITS}
    for m, key in KEYS.items():
        shapes = {name: split.features[m].shape[1:] for name, split in splits.items()}
        if len(set(shapes.values())) > 1:
            raise UserError(f"{path}: frames and features of {key} differ between splits: {shapes}")
    return splits


def _read_split(where: str, tree: Mapping[str, Any]) -> MmsaSplit:
    if "text" not in tree and "text_bert" in tree:
        raise UserError(
            f"{where} holds text_bert (token numbers) but no text: convert needs features, so use the file with BERT's "
            "text features, or run BERT over text_bert and store the result, N x frames x 768, as text"
        )
    absent = [key for key in (*KEYS.values(), LABELS) if key not in tree]
    if absent:
        raise UserError(f"{where} lacks {', '.join(absent)}; an MMSA file has {', '.join(KEYS.values())} and {LABELS}")

    labels = _numbers(f"{where}: {LABELS}", tree[LABELS]).astype(np.float32).ravel()
    if len(labels) == 0:
        raise UserError(f"{where} holds no clip")
    if (np.abs(labels) > LABEL_LIMIT).any():
        raise UserError(f"{where}: {LABELS} must be in [-{LABEL_LIMIT:g}, {LABEL_LIMIT:g}], or NaN for a clip without")

    features, lengths = {}, {}
    for m in MODALITIES:
        array, place = tree[KEYS[m]], f"{where}: {KEYS[m]}"
        if not isinstance(array, Array) or array.dtype.kind not in "fiu" or len(array.shape) != 3:
            raise UserError(f"{place} must be an array of numbers, clips x frames x features")
        if array.shape[0] != len(labels) or 0 in array.shape:
            raise UserError(f"{place} has the shape {array.shape}, which does not fit {len(labels)} labels")
        features[m] = array
        given = tree.get(f"{KEYS[m]}_lengths")
        if given is not None:
            counts = _numbers(f"{place}_lengths", given).ravel()
            if len(counts) != len(labels) or not (np.isfinite(counts) & (counts >= 0)).all():
                raise UserError(f"{place}_lengths must give a number of frames for each of the {len(labels)} clips")
            lengths[m] = counts.clip(max=array.shape[1]).astype(np.int64)
    return MmsaSplit(features, lengths, labels, _strings(tree.get("id"), len(labels)))


def _numbers(where: str, value: Any) -> NDArray[Any]:
    """An array or a list of numbers."""
    if isinstance(value, Array) and value.dtype.kind in "fiu" and value.shape:
        return value.rows()
    if isinstance(value, list) and all(type(item) in (int, float) for item in value):
        return np.array(value, np.float64)
    raise UserError(f"{where} must be numbers")


def _strings(value: Any, count: int) -> list[str] | None:
    items = value.rows().tolist() if isinstance(value, Array) and len(value.shape) == 1 else value
    if not isinstance(items, list) or len(items) != count or not all(isinstance(item, str) for item in items):
        return None
    return items

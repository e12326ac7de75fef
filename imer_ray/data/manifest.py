"""What ``dataset.json`` of a store says, checked as a whole before anything is opened or made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.dataset import SPLITS
from imer_ray.data.feature_names import is_name
from imer_ray.data.missing import MODALITIES
from imer_ray.data.mmsa import MAX_FEATURES, MAX_FRAMES, MAX_VALUES
from imer_ray.errors import UserError
from imer_ray.received import check_file, unreadable

MANIFEST = "dataset.json"
VERSION = 1
LABEL_KINDS = ("regression", "binary")
MAX_BYTES = 64 * 2**20  # statistics of three modalities with as many features as are read take 8 MB
_AGAIN = "convert the data again"


@dataclass(frozen=True)
class SplitFile:
    """Of a split's Arrow file."""

    num_clips: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A store's description.

    Attributes:
        dims, lengths: {m: number of features D_m}, {m: number of frames L_m}.
        statistics: {m: mean and standard deviation [D_m]} of the training clips.
        statistics_entry: the same as JSON has it, for the fingerprint.
        at_the_end: modalities of which the frames of a shorter clip lie at the end.
        feature_names: {m: which features these are} of the modalities of which whoever converted them said so.
        source: name, size and SHA-256 of the file that was converted, as far as they are noted.
    """

    dims: Mapping[str, int]
    lengths: Mapping[str, int]
    label_kind: str
    splits: Mapping[str, SplitFile]
    statistics: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    statistics_entry: Mapping[str, Any]
    at_the_end: frozenset[str]
    feature_names: Mapping[str, str]
    source: Mapping[str, Any]


def read_manifest(folder: Path) -> Manifest:
    """The description in a store's folder.

    Raises:
        UserError: there is none, it must not be read, it is of another version, or damaged, and how.
    """
    path = folder / MANIFEST
    check_file(path, str(path), f"there is no such file; make a store with python -m imer_ray.convert output={folder}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is far larger than any")
        tree = json.loads(path.read_text(encoding="utf-8"))
        version = _entry(tree, "version")
        if type(version) is not int or version == VERSION:
            return _manifest(tree)
    except OSError as error:
        raise unreadable(str(path), error) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is no JSON; {_AGAIN}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; {_AGAIN}") from error
    raise UserError(f"{path} has version {version}, this imer_ray reads {VERSION}; {_AGAIN}")


def _manifest(tree: Any) -> Manifest:
    if tree["version"] != VERSION:
        raise ValueError("its version is no number")
    dims, lengths = (
        {m: _whole(tree, key, m, limit=limit) for m in MODALITIES}
        for key, limit in (("dims", MAX_FEATURES), ("lengths", MAX_FRAMES))
    )
    for m in MODALITIES:
        if dims[m] * lengths[m] > MAX_VALUES:
            raise ValueError(f"{m} has more than {MAX_VALUES} numbers a clip")
    kind = _entry(tree, "label_kind")
    if kind not in LABEL_KINDS:
        raise ValueError(f"label_kind is none of {', '.join(LABEL_KINDS)}")
    splits = {}
    for name in SPLITS:
        checksum = _entry(tree, "splits", name, "sha256")
        if type(checksum) is not str:
            raise ValueError(f"splits.{name}.sha256 is no text")
        num_clips, num_bytes = (_whole(tree, "splits", name, key) for key in ("num_clips", "num_bytes"))
        splits[name] = SplitFile(num_clips, num_bytes, checksum)
    entry = _entry(tree, "statistics")
    statistics = {m: (_numbers(tree, m, "mean", dims[m]), _numbers(tree, m, "std", dims[m])) for m in MODALITIES}
    for m, (_, std) in statistics.items():
        if not (std > 0).all():
            raise ValueError(f"statistics.{m}.std is not above 0 everywhere")
    at_the_end = tree.get("frames_at_the_end", [])  # which older stores do not say
    if not isinstance(at_the_end, list) or not all(m in MODALITIES for m in at_the_end):
        raise ValueError(f"frames_at_the_end is no list of {', '.join(MODALITIES)}")
    names = tree.get("feature_names", {})
    if not isinstance(names, dict) or not all(m in MODALITIES and is_name(name) for m, name in names.items()):
        raise ValueError(f"feature_names are no short texts of {', '.join(MODALITIES)}")
    source = tree.get("source")
    source = source if isinstance(source, dict) else {}
    return Manifest(dims, lengths, kind, splits, statistics, entry, frozenset(at_the_end), names, source)


def _entry(tree: Any, *keys: str) -> Any:
    for i, key in enumerate(keys):
        if not isinstance(tree, dict) or key not in tree:
            raise ValueError(f"it has no {'.'.join(keys[: i + 1])}")
        tree = tree[key]
    return tree


def _whole(tree: Any, *keys: str, limit: int = 2**62) -> int:
    value = _entry(tree, *keys)
    if type(value) is not int or not 1 <= value <= limit:
        raise ValueError(f"{'.'.join(keys)} is no whole number from 1 to {limit}")
    return value


def _numbers(tree: Any, m: str, name: str, count: int) -> NDArray[np.float32]:
    values = _entry(tree, "statistics", m, name)
    if not isinstance(values, list) or len(values) != count or not all(type(v) in (int, float) for v in values):
        raise ValueError(f"statistics.{m}.{name} is no list of {count} numbers, one for each feature")
    try:
        with np.errstate(over="ignore"):
            found = np.array(values, np.float64).astype(np.float32)
    except OverflowError:  # a whole number of hundreds of digits
        found = np.array([np.inf], np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"statistics.{m}.{name} has numbers that are not finite")
    return found

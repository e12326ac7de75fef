"""The same clips in memory and in a file of each format that is read."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imer_ray.data.missing import MODALITIES
from imer_ray.prediction.clip import Clip, ClipError, Reads, read_clip
from imer_ray.prediction.files.opening import open_rows
from imer_ray.prediction.files.rows import Wanted

READS = Reads({"l": 3, "a": 2, "v": 4}, {"l": 5, "a": 6, "v": 7}, frozenset(), dict.fromkeys(MODALITIES))
Raw = dict[str, np.ndarray | None]


def wanted(modalities: str = "lav", reads: Reads = READS, data: Any = None) -> Wanted:
    return Wanted(modalities, reads.dims, reads.at_the_end, data, reads.names, {})


def clips(count: int, seed: int = 0, num_frames: int = 5) -> dict[str, Raw]:
    """Clips of 1 to ``num_frames`` frames, some without a modality, by name."""
    r = np.random.default_rng(seed)
    found: dict[str, Raw] = {}
    for i in range(count):
        raw: Raw = {m: r.normal(size=(r.integers(1, num_frames + 1), width)) for m, width in READS.dims.items()}
        if i % 3 == 1:
            raw["lav"[i % 2]] = None
        found[f"clip{i}"] = {m: None if x is None else x.astype(np.float32) for m, x in raw.items()}
    return found


def write_parquet(path: Path, given: Mapping[str, Raw], **settings: Any) -> None:
    columns = {m: [None if raw[m] is None else raw[m].tolist() for raw in given.values()] for m in MODALITIES}
    pq.write_table(pa.table({"id": list(given), **columns}), path, **settings)


def write_npz(path: Path, given: Mapping[str, Raw], save: Any = np.savez) -> None:
    """Padded at the end, with lengths."""
    arrays: dict[str, np.ndarray] = {"id": np.array(list(given))}
    for m in MODALITIES:
        arrays[m], arrays[f"{m}_lengths"] = padded([raw[m] for raw in given.values()], READS.dims[m])
    save(path, **arrays)


def padded(given: Sequence[np.ndarray | None], width: int, front: bool = False) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([0 if x is None else len(x) for x in given])
    whole = np.zeros((len(given), max(lengths), width), np.float32)
    for row, x in zip(whole, given, strict=True):
        if x is not None:
            row[len(row) - len(x) :] = x if front else row[len(row) - len(x) :]
            if not front:
                row[: len(x)] = x
    return whole, lengths


def write_json_lines(path: Path, given: Mapping[str, Raw]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for id, raw in given.items():
            features = {m: None if x is None else x.tolist() for m, x in raw.items()}
            file.write(json.dumps({"id": id, **features}) + "\n")


def write_mmsa(path: Path, given: Mapping[str, Raw]) -> None:
    """In the split test alone, without labels."""
    split: dict[str, Any] = {"id": list(given)}
    for m, key in {"l": "text", "a": "audio", "v": "vision"}.items():
        split[key], lengths = padded([raw[m] for raw in given.values()], READS.dims[m])
        split[f"{key}_lengths"] = lengths.tolist()
    path.write_bytes(pickle.dumps({"test": split}, 4))


WRITERS = {"x.parquet": write_parquet, "x.npz": write_npz, "x.jsonl": write_json_lines, "x.pkl": write_mmsa}


def read(path: Path, reads: Reads = READS, modalities: str = "lav", data: Any = None) -> dict[str, Clip | str]:
    """Every row of a file, as the clip or as what is said about it."""
    found: dict[str, Clip | str] = {}
    with open_rows(path, wanted(modalities, reads, data)) as rows:
        for id, raw in rows.rows:
            try:
                found[id] = read_clip(raw, reads) if isinstance(raw, Mapping) else str(raw)
            except ClipError as error:
                found[id] = str(error)
    return found


def same(one: Clip | str, other: Clip | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one.features.keys() == other.features.keys() and all(
        np.array_equal(one.features[m], other.features[m]) and np.array_equal(one.frames[m], other.frames[m])
        for m in one.features
    )

"""Write a store (see `imer_ray.data.store`) from an MMSA file, a chunk of clips at a time."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.dataset import SPLITS, usable_std
from imer_ray.data.missing import MODALITIES
from imer_ray.data.mmsa import MmsaSplit
from imer_ray.data.store import CHUNK, MANIFEST, VERSION
from imer_ray.errors import UserError
from imer_ray.files import disk_errors, sha256


def check_output(output: Path) -> None:
    """Refuse a place where something lies already."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output={output} already exists and is not empty; choose another folder or remove it")


def write(splits: Mapping[str, MmsaSplit], source: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Write the folder ``output``, whole or not at all, and return its manifest; ``source`` is kept in it."""
    check_output(output)
    aside = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}")
    with disk_errors(output):
        aside.mkdir(parents=True)
        try:
            manifest = _write_files(splits, source, aside)
            check_output(output)
            os.rename(aside, output)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return manifest


def _write_files(splits: Mapping[str, MmsaSplit], source: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    repaired = {m: Repaired() for m in MODALITIES}
    shapes = {m: array.shape[1:] for m, array in splits["train"].features.items()}
    statistics = {m: RunningStatistics(shapes[m][1]) for m in MODALITIES}
    written: dict[str, dict[str, Any]] = {}
    for name in SPLITS:
        path = folder / f"{name}.arrow"
        _write_split(splits[name], path, repaired, statistics if name == "train" else {})
        labelled = int(np.isfinite(splits[name].labels).sum())
        written[name] = {"num_clips": len(splits[name].labels), "num_labelled": labelled}
        written[name] |= {"num_bytes": path.stat().st_size, "sha256": sha256(path)}
    manifest = {
        "format": "imer_ray store",
        "version": VERSION,
        "source": dict(source),
        "label_kind": "regression",
        "dims": {m: shape[1] for m, shape in shapes.items()},
        "lengths": {m: shape[0] for m, shape in shapes.items()},
        "splits": written,
        "repaired": {m: counts.found for m, counts in repaired.items()},
        "statistics": {m: s.result() for m, s in statistics.items()},
    }
    with open(folder / MANIFEST, "w", encoding="utf-8") as file:
        file.write(json.dumps(manifest, indent=1, allow_nan=False))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _write_split(
    split: MmsaSplit, path: Path, repaired: Mapping[str, Repaired], statistics: Mapping[str, RunningStatistics]
) -> None:
    import pyarrow as pa

    num_clips = len(split.labels)
    fields = [pa.field("label", pa.float32())] + ([pa.field("id", pa.string())] if split.ids else [])
    for m in MODALITIES:
        fields += [pa.field(m, pa.list_(pa.float32(), int(np.prod(split.features[m].shape[1:]))))]
        fields += [pa.field(f"{m}_{end}", pa.int32()) for end in ("start", "stop")]
    schema = pa.schema(fields)
    with open(path, "wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            for first in range(0, num_clips, CHUNK):
                rows = slice(first, min(first + CHUNK, num_clips))
                columns: dict[str, Any] = {"label": split.labels[rows]}
                if split.ids:
                    columns["id"] = split.ids[rows]
                for m in MODALITIES:
                    x = repaired[m].repair(split.features[m].rows(rows.start, rows.stop))
                    start, stop = recorded_frames(x, split.lengths[m][rows] if m in split.lengths else None)
                    if m in statistics:
                        frame = np.arange(x.shape[1])
                        statistics[m].add(x[(frame >= start[:, None]) & (frame < stop[:, None])])
                    columns[m] = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), int(np.prod(x.shape[1:])))
                    columns[f"{m}_start"], columns[f"{m}_stop"] = start.astype(np.int32), stop.astype(np.int32)
                writer.write_batch(pa.record_batch([columns[field.name] for field in schema], schema=schema))
        file.flush()
        os.fsync(file.fileno())


def recorded_frames(
    x: NDArray[np.float32], lengths: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame and the one after the last of each clip of x [N, L, D]; 0 and 0 if it holds nothing but zeros.

    Without ``lengths`` [N], frames of zeros at either end are padding.
    """
    filled = (x != 0).any(2)
    start, stop = filled.argmax(1), x.shape[1] - filled[:, ::-1].argmax(1)
    if lengths is not None:
        start, stop = np.zeros_like(lengths), lengths
    anything = filled.any(1)
    return np.where(anything, start, 0), np.where(anything, stop, 0)


class Repaired:
    """Counts what was not finite and had to become 0."""

    def __init__(self) -> None:
        self.found = {"nan": 0, "+inf": 0, "-inf": 0}

    def repair(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """float32 copy [N, L, D] with NaN and infinities (also of numbers too large for float32) as 0."""
        with np.errstate(over="ignore"):
            x = values.astype(np.float32)
        bad = ~np.isfinite(x)
        if bad.any():
            self.found["nan"] += int(np.isnan(x).sum())
            self.found["+inf"] += int(np.isposinf(x).sum())
            self.found["-inf"] += int(np.isneginf(x).sum())
            x[bad] = 0.0
        return x


class RunningStatistics:
    """Mean and standard deviation over rows that come in parts (Chan, Golub and LeVeque, 1983, equation 2.1)."""

    def __init__(self, dim: int) -> None:
        self.count, self.mean, self.square = 0, np.zeros(dim), np.zeros(dim)

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take in rows [N, D]."""
        if len(rows) == 0:
            return
        mean = rows.mean(0, dtype=np.float64)
        square = np.square(rows - mean).sum(0)
        total = self.count + len(rows)
        difference = mean - self.mean
        self.square = self.square + square + np.square(difference) * self.count * len(rows) / total
        self.mean = self.mean + difference * len(rows) / total
        self.count = total

    def result(self) -> dict[str, list[float]]:
        """Mean and standard deviation [D]; the deviation of a constant feature is 1."""
        std = np.sqrt(self.square / max(self.count, 1))
        return {"mean": self.mean.tolist(), "std": usable_std(self.mean, std).tolist()}

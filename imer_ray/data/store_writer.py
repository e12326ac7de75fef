"""Write a store (see `imer_ray.data.store`) from an MMSA file, a chunk of clips at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data import mmsa_frames
from imer_ray.data.dataset import usable_std
from imer_ray.data.manifest import MANIFEST, VERSION
from imer_ray.data.missing import MODALITIES
from imer_ray.data.mmsa import MmsaFile, MmsaSplit
from imer_ray.data.mmsa_frames import KINDS, filled_frames, repair
from imer_ray.data.padding import Ints, Recorded
from imer_ray.data.store import CHUNK
from imer_ray.errors import UserError
from imer_ray.files import beside, disk_errors, sha256


def check_output(output: Path) -> None:
    """Refuse a place where something lies already, or that cannot be looked at."""
    with disk_errors(output):
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if taken:
        raise UserError(f"output={output} already exists and is not empty; choose another folder or remove it")


def write(data: MmsaFile, noted: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Write the folder ``output``, whole or not at all, and return its manifest, in which ``noted`` is kept."""
    check_output(output)
    aside = beside(output)
    with disk_errors(output):
        aside.mkdir(parents=True)
        try:
            manifest = _write_files(data, noted, aside)
            check_output(output)
            os.rename(aside, output)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return manifest


def _write_files(data: MmsaFile, noted: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    splits = data.splits
    shapes = {m: array.shape[1:] for m, array in splits["train"].features.items()}
    statistics = {m: RunningStatistics(shapes[m][1]) for m in MODALITIES}
    at_the_end = {m: mmsa_frames.at_the_end(splits, m) for m in MODALITIES}
    repaired = {m: dict.fromkeys(KINDS, 0) for m in MODALITIES}
    written: dict[str, dict[str, Any]] = {}
    for name, split in splits.items():
        path = folder / f"{name}.arrow"
        recorded = {m: mmsa_frames.recorded(split, m, at_the_end[m]) for m in MODALITIES}
        tallies = {m: Tally() for m in MODALITIES}
        _write_split(split, path, recorded, tallies, statistics if name == "train" else {})
        labelled = int(np.isfinite(split.labels).sum())
        written[name] = {"num_clips": len(split.labels), "num_labelled": labelled}
        written[name] |= {"num_bytes": path.stat().st_size, "sha256": sha256(path)}
        written[name] |= {"recorded": {m: tally.entry() for m, tally in tallies.items()}}
        for m, tally in tallies.items():
            repaired[m] = {kind: count + tally.repaired[kind] for kind, count in repaired[m].items()}
    manifest = {
        "format": "imer_ray store",
        "version": VERSION,
        **noted,
        "label_kind": data.label_kind,
        "dims": {m: shape[1] for m, shape in shapes.items()},
        "lengths": {m: shape[0] for m, shape in shapes.items()},
        "frames_at_the_end": [m for m in MODALITIES if at_the_end[m]],
        "splits": written,
        "repaired": repaired,
        "statistics": {m: s.result() for m, s in statistics.items()},
    }
    with open(folder / MANIFEST, "w", encoding="utf-8") as file:
        file.write(json.dumps(manifest, indent=1, allow_nan=False))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _write_split(
    split: MmsaSplit,
    path: Path,
    recorded: Mapping[str, Recorded],
    tallies: Mapping[str, Tally],
    statistics: Mapping[str, RunningStatistics],
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
                    x, found = repair(split.features[m].rows(rows.start, rows.stop))
                    start, stop = recorded[m].find(filled_frames(x), rows.start)
                    tallies[m].add(start, stop, found)
                    if m in statistics:
                        frame = np.arange(x.shape[1])
                        statistics[m].add(x[(frame >= start[:, None]) & (frame < stop[:, None])])
                    columns[m] = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), int(np.prod(x.shape[1:])))
                    columns[f"{m}_start"], columns[f"{m}_stop"] = start.astype(np.int32), stop.astype(np.int32)
                writer.write_batch(pa.record_batch([columns[field.name] for field in schema], schema=schema))
        file.flush()
        os.fsync(file.fileno())


@dataclass
class Tally:
    """What is recorded of a modality in a split: clips, frames, and the numbers that had to become 0."""

    clips: int = 0
    frames: int = 0
    repaired: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, start: Ints, stop: Ints, repaired: Mapping[str, int]) -> None:
        """Count clips whose frames [start, stop) are recorded, all [N]."""
        self.clips += int((stop > start).sum())
        self.frames += int((stop - start).sum())
        self.repaired = {kind: count + repaired[kind] for kind, count in self.repaired.items()}

    def entry(self) -> dict[str, int]:
        return {"clips": self.clips, "frames": self.frames, "repaired": sum(self.repaired.values())}


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

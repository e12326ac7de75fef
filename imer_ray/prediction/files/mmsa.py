"""Clips of a pickle in MMSA's format: all its splits, one after another, cut as `imer_ray.convert` cuts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from imer_ray.data.mmsa import MmsaSplit, read_unlabelled
from imer_ray.data.mmsa_frames import CHUNK, at_the_end, filled_frames, recorded, repair
from imer_ray.errors import UserError
from imer_ray.prediction.files.padded import own_frames
from imer_ray.prediction.files.rows import BATCH_VALUES, Row, Rows, Wanted


@contextmanager
def read(path: Path, wanted: Wanted) -> Iterator[Rows]:
    """The clips of a file; those without an id go by split and number, as ``test/0``."""
    with open(path, "rb") as file:
        splits = read_unlabelled(path, file, wanted.modalities)
        found = {m: at_the_end({k: s for k, s in splits.items() if m in s.features}, m) for m in wanted.modalities}
        count = sum(len(split.labels) for split in splits.values())
        yield Rows(count, (row for name, split in splits.items() for row in _rows(name, split, found, wanted)))


def _rows(name: str, split: MmsaSplit, at_the_end: Mapping[str, bool], wanted: Wanted) -> Iterator[Row]:
    values = max(int(np.prod(array.shape[1:])) for array in split.features.values())
    size = min(CHUNK, max(1, BATCH_VALUES // values))
    finders = {m: recorded(split, m, at_the_end[m]) for m in split.features}
    for first in range(0, len(split.labels), size):
        chunk = {m: array.rows(first, first + size) for m, array in split.features.items()}
        filled = {m: filled_frames(repair(x)[0]) for m, x in chunk.items()}
        for i in range(len(next(iter(chunk.values())))):
            raw: dict[str, Any] = {}
            row: Row = (split.ids[first + i] if split.ids else f"{name}/{first + i}", raw)
            try:
                for m, x in chunk.items():
                    start, stop = (int(end[0]) for end in finders[m].find(filled[m][i : i + 1], first + i))
                    raw[m] = own_frames(x[i], start, stop, at_the_end[m], m in wanted.at_the_end)
            except UserError as error:
                row = (row[0], error)
            yield row

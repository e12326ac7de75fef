"""The frames of clips in an MMSA file: which were recorded, and their numbers, a few clips at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.mmsa import KEYS, MmsaSplit
from imer_ray.data.padding import Bools, Ints, Recorded, frames_at_the_end

CHUNK = 128  # clips that are read at once
KINDS: Mapping[str, Callable[..., Any]] = {"nan": np.isnan, "+inf": np.isposinf, "-inf": np.isneginf}  # not finite


def at_the_end(splits: Mapping[str, MmsaSplit], m: str) -> bool:
    """Whether the frames of modality ``m`` lie at the end, as far as the lengths in the file tell."""
    return frames_at_the_end(_given_lengths(splits, m))


def _given_lengths(splits: Mapping[str, MmsaSplit], m: str) -> Iterator[tuple[Bools, Ints]]:
    """Which frames are filled, and the lengths that the file gives, a chunk of clips at a time."""
    for split in splits.values():
        for first in range(0, len(split.labels), CHUNK) if m in split.lengths else ():
            rows = slice(first, first + CHUNK)
            yield filled_frames(repair(split.features[m].rows(rows.start, rows.stop))[0]), split.lengths[m][rows]


def recorded(split: MmsaSplit, m: str, at_the_end: bool) -> Recorded:
    """What finds the frames of modality ``m`` in a split's clips."""
    mask = split.mask if m == "l" and split.tokens is not None else None
    return Recorded(f"{split.where}: {KEYS[m]}", split.clip, split.lengths.get(m), mask, at_the_end)


def filled_frames(x: NDArray[np.float32]) -> Bools:
    """[N, L]: the frames of x [N, L, D] in which something is not 0."""
    return (x != 0).any(2)


def repair(values: NDArray[Any]) -> tuple[NDArray[np.float32], dict[str, int]]:
    """float32 copy [N, L, D] with NaN and infinities (also of numbers too large for float32) as 0, and how many."""
    found = dict.fromkeys(KINDS, 0)
    with np.errstate(over="ignore"):
        x = values.astype(np.float32)
    bad = ~np.isfinite(x)
    if bad.any():
        for kind, test in KINDS.items():
            found[kind] = int(test(x).sum())
        x[bad] = 0.0
    return x, found

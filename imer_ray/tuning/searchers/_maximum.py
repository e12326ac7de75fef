"""Configurations of a space where a score is highest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from imer_ray.tuning.searchers._encoding import Encoding, Rows

NUM_DRAWN = 1000  # uniformly
NUM_STARTS = 8  # of the climbs
NUM_ROUNDS = 6  # of each climb
NUM_TRIED = 6  # other values of one parameter at a time
FIRST_STEP = 0.25  # standard deviation of a change of a continuous parameter; each round halves it

Score = Callable[[Rows], NDArray[np.float64]]


def highest(
    score: Score, encoding: Encoding, known: Rows, held: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Rows, NDArray[np.float64]]:
    """Rows and their scores, the highest first: of uniform draws, neighbours of ``known`` ones, and of a climb from the
    best of these, which changes one parameter at a time (Hutter et al., 2011, section 4.3).

    Args:
        held: [D] what all have; NaN where they are free.
    """
    drawn = np.tile(held, (NUM_DRAWN, 1))
    rows = encoding.settled(drawn, rng.random(drawn.shape))
    if len(known):
        rows = np.vstack([rows, _neighbours(encoding, _with(encoding, known, held, rng), held, FIRST_STEP, rng)])
    scores = score(rows)
    chosen = _distinct_best(rows, scores, NUM_STARTS)
    tops, best = rows[chosen], scores[chosen]
    found, found_scores = [rows], [scores]
    for round_ in range(NUM_ROUNDS):
        near = _neighbours(encoding, tops, held, FIRST_STEP * 0.5**round_, rng)
        near_scores = score(near)
        found.append(near)
        found_scores.append(near_scores)
        rows, scores = np.vstack([tops, near]), np.concatenate([best, near_scores])
        chosen = _distinct_best(rows, scores, NUM_STARTS)
        if not encoding.has_continuous and set(chosen) <= set(range(len(tops))):
            break
        tops, best = rows[chosen], scores[chosen]
    rows, scores = np.vstack(found), np.concatenate(found_scores)
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order]


def _with(encoding: Encoding, rows: Rows, held: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    rows = np.where(np.isnan(held), rows, held)
    return encoding.settled(rows, rng.random(rows.shape))


def _distinct_best(rows: Rows, scores: NDArray[np.float64], number: int) -> list[int]:
    chosen: dict[bytes, int] = {}
    for place in np.argsort(-scores, kind="stable"):
        chosen.setdefault(rows[place].tobytes(), int(place))
        if len(chosen) == number:
            break
    return list(chosen.values())


def _neighbours(
    encoding: Encoding, rows: Rows, held: NDArray[np.float64], step: float, rng: np.random.Generator
) -> Rows:
    """Each row with one parameter changed that it has and that is not held."""
    changed = []
    for place, column in enumerate(encoding.columns):
        free = rows[~np.isnan(rows[:, place])] if np.isnan(held[place]) else rows[:0]
        if column.values is None:
            near = np.repeat(free, NUM_TRIED, axis=0)
            near[:, place] = np.clip(near[:, place] + step * rng.standard_normal(len(near)), 0.0, 1.0)
        else:
            levels = column.levels
            if len(levels) > NUM_TRIED:
                near = np.repeat(free, NUM_TRIED, axis=0)
                offset = np.rint(step * len(levels) * rng.standard_normal(len(near))).astype(int)
                at = np.searchsorted(levels, near[:, place]) + np.where(offset == 0, 1, offset)
                near[:, place] = levels[np.clip(at, 0, len(levels) - 1)]
            else:
                near = np.repeat(free, len(levels), axis=0)
                near[:, place] = np.tile(levels, len(free))
        changed.append(near)
    near = np.vstack(changed)
    return encoding.settled(near, rng.random(near.shape))

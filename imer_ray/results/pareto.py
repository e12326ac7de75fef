"""Pareto dominance, and the knee of a front. All objectives are minimised.

Legend: N points, K objectives. A point with a NaN or infinite objective was not measured: it is on no front.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


def pareto_front(objectives: ArrayLike) -> NDArray[np.bool_]:
    """Which of the points [N, K] no other point dominates: x dominates y if x <= y everywhere and x < y somewhere.

    Equal points do not dominate each other, so all copies of a point on the front are on it.
    """
    points = _checked(objectives)
    measured = np.flatnonzero(np.isfinite(points).all(1))
    mask = np.zeros(len(points), dtype=bool)
    mask[measured] = _two(points[measured]) if points.shape[1] == 2 else _several(points[measured])
    return mask


def _two(points: Points) -> NDArray[np.bool_]:
    """Whoever dominates a point stands before it in lexical order, so it needs a second objective below all of them."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    ordered = points[order]
    first = np.ones(len(points), dtype=bool)  # of equal points
    first[1:] = (ordered[1:] != ordered[:-1]).any(1)
    second = ordered[first, 1]
    lowest_before = np.minimum.accumulate(np.append(np.inf, second[:-1]))[: len(second)]
    mask = np.zeros(len(points), dtype=bool)
    mask[order] = (second < lowest_before)[np.cumsum(first) - 1]
    return mask


def _several(points: Points) -> NDArray[np.bool_]:
    front: list[int] = []
    for i in np.lexsort(points.T[::-1]):  # whoever dominates a point stands before it
        kept = points[front]
        dominated = (kept <= points[i]).all(1) & (kept < points[i]).any(1)
        if not dominated.any():
            front.append(int(i))
    mask = np.zeros(len(points), dtype=bool)
    mask[front] = True
    return mask


def non_domination_rank(objectives: ArrayLike) -> NDArray[np.int64]:
    """[N]: 0 on the front, 1 on the front of what then remains, and so on; -1 for points that were not measured.

    Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002, section III-A.
    """
    points = _checked(objectives)
    rank = np.full(len(points), -1)
    remaining = np.flatnonzero(np.isfinite(points).all(1))
    level = 0
    while len(remaining):
        on_front = pareto_front(points[remaining])
        rank[remaining[on_front]] = level
        remaining = remaining[~on_front]
        level += 1
    return rank


def knee(front: ArrayLike) -> int:
    """Index of the point of a front [N, K] that gains most of all objectives: where the front bends.

    Each objective is scaled to [0, 1] over the front; the knee is the point farthest on the good side of the plane (the
    line, where there are two) through the worst of each, i.e. argmin of the scaled objectives' sum. On a straight front
    all points are equal, and the one nearest the ideal corner 0 is taken. Units of the objectives do not matter.

    Source: Das, On characterizing the "knee" of the Pareto curve based on Normal-Boundary Intersection, 1999.
    """
    points = _checked(front)
    if len(points) == 0 or not np.isfinite(points).all():
        raise ValueError("a knee needs at least one point, and finite ones")
    low, span = points.min(0), np.ptp(points, axis=0)
    scaled = (points - low) / np.where(span > 0, span, 1.0)
    below_line = np.round(scaled.sum(1), 12)  # rounding: equal points must not be told apart by the last bit
    return int(np.lexsort((np.linalg.norm(scaled, axis=1), below_line))[0])


def picks(objectives: ArrayLike, further: Sequence[str] = ()) -> dict[str, int]:
    """quality, speed, knee -> index of the point [N, K] (quality, speed, further objectives) that has this name: the
    best of each objective on the front, where several are that the best in the first of the others, and the `knee`.
    Further objectives have picks of their own names. Empty if nothing was measured."""
    points = _checked(objectives)
    front = np.flatnonzero(pareto_front(points))
    if not len(front):
        return {}
    others = np.arange(points.shape[1])[::-1]
    found = {
        name: int(front[np.lexsort([*(points[front, k] for k in others if k != own), points[front, own]])[0]])
        for own, name in enumerate(("quality", "speed", *further))
    }
    order = front[np.lexsort(points[front].T[others])]
    return {**dict(list(found.items())[:2]), "knee": int(order[knee(points[order])]), **dict(list(found.items())[2:])}


def _checked(objectives: ArrayLike) -> Points:
    points = np.asarray(objectives, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"objectives must be [N, K], not of shape {points.shape}")
    return points

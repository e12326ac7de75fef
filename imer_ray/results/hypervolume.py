"""Hypervolume of minimised objectives: the volume that a set of points dominates, up to a fixed reference point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imer_ray.results.pareto import pareto_front

Points = NDArray[np.float64]


def hypervolume(objectives: ArrayLike, reference: Sequence[float]) -> float:
    """Volume of the union of the boxes [x, r] over the points x [N, K], r [K] the reference point. Exact.

    Two objectives: sorted by the first, the front's points x_i have falling second objectives, and the area is
        sum_i (x_{i+1,1} - x_{i,1}) (r_2 - x_{i,2}),    x_{N+1,1} = r_1.
    More objectives: a point adds the box that it dominates without what later points dominate of it,
        sum_i prod_k (r_k - x_ik) - HV({max(x_i, x_j), j > i}),
    and where points are sorted by their last objective, worst first, the second term has one objective less.

    A point beyond the reference in any objective, or with a NaN or infinite objective, dominates nothing inside and
    adds nothing; the reference never moves, so that values of one study, and of studies that share it, can be compared.

    Sources: Zitzler and Thiele, Multiobjective evolutionary algorithms: a comparative case study, 1999; While,
    Bradstreet and Barone, A fast way of calculating exact hypervolumes, 2012 (WFG, with slicing).
    """
    corner = _corner(reference)
    points = np.asarray(objectives, dtype=np.float64).reshape(-1, len(corner))
    return _volume(points[np.isfinite(points).all(1) & (points < corner).all(1)], corner)


def hypervolume_history(objectives: ArrayLike, reference: Sequence[float]) -> NDArray[np.float64]:
    """Hypervolume [N] after each of the points [N, K], taken in the order given; never falls."""
    corner = _corner(reference)
    points = np.asarray(objectives, dtype=np.float64).reshape(-1, len(corner))
    front = np.empty((0, len(corner)))
    history = np.zeros(len(points))
    for i, point in enumerate(points):
        before = history[i - 1] if i else 0.0
        grown = np.vstack([front, point])
        on_front = pareto_front(grown)
        history[i] = before
        if on_front[-1] and (point < corner).all():
            history[i] += _gain(point, front[(front < corner).all(1)], corner)
        if on_front[-1]:
            front = grown[on_front]
    return history


def _corner(reference: Sequence[float]) -> Points:
    corner = np.asarray(reference, dtype=np.float64)
    if corner.ndim != 1 or len(corner) < 2 or not np.isfinite(corner).all():
        raise ValueError(f"the reference point must be two or more finite numbers, not {reference!r}")
    return corner


def _gain(point: Points, others: Points, corner: Points) -> float:
    """What a point dominates that others [N, K] do not."""
    return float(np.prod(corner - point)) - _volume(np.maximum(others, point), corner)


def _volume(points: Points, corner: Points) -> float:
    """Of points that are all within the corner."""
    if not len(points):
        return 0.0
    front = np.unique(points[pareto_front(points)], axis=0)  # sorted by the first objective
    if len(corner) == 2:
        widths = np.diff(front[:, 0], append=corner[0])
        return float(widths @ (corner[1] - front[:, 1]))
    front = front[np.argsort(-front[:, -1], kind="stable")]
    heights = corner[-1] - front[:, -1]
    bases = (_gain(point, front[i + 1 :, :-1], corner[:-1]) for i, point in enumerate(front[:, :-1]))
    return float(sum(height * base for height, base in zip(heights, bases, strict=True)))

"""Hypervolume of two minimised objectives: the area that a set of points dominates, up to a fixed reference point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imer_ray.results.pareto import pareto_front


def hypervolume(objectives: ArrayLike, reference: Sequence[float]) -> float:
    """Area of the union of the boxes [x1, r1] x [x2, r2] over the points x [N, 2], r the reference point. Exact.

    Sorted by the first objective, the front's points x_i have falling second objectives, and the area is
        sum_i (x_{i+1,1} - x_{i,1}) (r_2 - x_{i,2}),    x_{N+1,1} = r_1.
    A point beyond the reference in either objective, or with a NaN or infinite objective, dominates nothing inside and
    adds nothing; the reference never moves, so that values of one study, and of studies that share it, can be compared.

    Source: Zitzler and Thiele, Multiobjective evolutionary algorithms: a comparative case study, 1999.
    """
    points = np.asarray(objectives, dtype=np.float64).reshape(-1, 2)
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != (2,) or not np.isfinite(corner).all():
        raise ValueError(f"the reference point must be two finite numbers, not {reference!r}")
    points = points[np.isfinite(points).all(1) & (points < corner).all(1)]
    front = np.unique(points[pareto_front(points)], axis=0)  # sorted by the first objective
    widths = np.diff(front[:, 0], append=corner[0])
    return float(widths @ (corner[1] - front[:, 1]))


def hypervolume_history(objectives: ArrayLike, reference: Sequence[float]) -> NDArray[np.float64]:
    """Hypervolume [N] after each of the points [N, 2], taken in the order given; never falls."""
    points = np.asarray(objectives, dtype=np.float64).reshape(-1, 2)
    front = np.empty((0, 2))
    history = np.zeros(len(points))
    for i, point in enumerate(points):
        grown = np.vstack([front, point])
        on_front = pareto_front(grown)
        if on_front[-1]:
            front = grown[on_front]
            history[i] = hypervolume(front, reference)
        else:
            history[i] = history[i - 1] if i else 0.0
    return history

"""What a study's seeds attain together: how often a point is on the front, and which trade-offs are reached how often.

Legend: S seeds, N points, K minimised objectives; surfaces are of two.

Sources: Fonseca and Fleming, On the performance assessment and comparison of stochastic multiobjective optimizers,
PPSN IV, 1996; Grunert da Fonseca, Fonseca and Hall, Inferential performance assessment of stochastic optimisers and
the attainment function, EMO 2001. There a run of an optimiser is what a seed is here: one draw of everything random.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imer_ray.results.pareto import pareto_front

MIN_SEEDS = 3  # below, the quartiles of an attainment function are its ends
LEVELS = (0.25, 0.5, 0.75)


def times_on_front(values: ArrayLike, ran: ArrayLike) -> NDArray[np.int64]:
    """[N]: with how many of the seeds that a point was run with [S, N] it is on that seed's front of values [S, N, K].

    Divided by the number of these seeds it is an estimate of the probability that the point is on the front.
    """
    fronts = [pareto_front(objectives) for objectives in np.asarray(values, dtype=np.float64)]
    return (np.asarray(fronts, dtype=bool) & np.asarray(ran, dtype=bool)).sum(0)


def attainment_surface(values: ArrayLike, level: float) -> NDArray[np.float64]:
    """Corners [K, 2] of the region that at least a share ``level`` of the seeds attains, the first objective rising.

    A seed attains z if one of its points is at least as good in both objectives, so that the empirical attainment
    function of z is the share of seeds that do. With y_s(x) the best second objective of seed s among its points with
    first objective <= x, the region above x begins at the ceil(level S)-th smallest of the y_s(x); exact in two
    objectives, O(S N log N).

    Args:
        values: [S, N, 2]. A point with an infinite or NaN objective attains nothing.
    """
    seeds = np.asarray(values, dtype=np.float64)
    if not 0 < level <= 1:
        raise ValueError(f"level must be a share of the seeds above 0 and up to 1, not {level}")
    seeds = np.where(np.isfinite(seeds).all(-1, keepdims=True), seeds, np.inf)
    x = np.unique(seeds[..., 0])
    best = np.stack([_best_second(points, x) for points in seeds])
    wanted = math.ceil(level * len(seeds) - 1e-9)  # 0.07 * 100 is a little more than 7
    reached = np.sort(best, axis=0)[wanted - 1]
    falls = reached < np.append(np.inf, reached[:-1])
    return np.column_stack([x[falls], reached[falls]])


def _best_second(points: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each x the smallest second objective among points [N, 2] whose first is at most x; inf if there are none."""
    order = points[:, 0].argsort()
    lowest = np.append(np.inf, np.minimum.accumulate(points[order, 1]))
    return lowest[np.searchsorted(points[order, 0], x, side="right")]

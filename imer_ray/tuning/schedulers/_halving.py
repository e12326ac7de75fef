"""Successive halving of points with several objectives, without Ray: rungs, brackets, and who goes on.

Sources: Li et al., 2020, A System for Massively Parallel Hyperparameter Tuning, arXiv:1810.05934 (ASHA); Li et al.,
2018, Hyperband, arXiv:1603.06560 (brackets); Schmucker et al., 2021, Multi-objective Asynchronous Successive Halving,
arXiv:2106.12639 (non-domination rank first, diversity second); Deb et al., 2002, NSGA-II (both of them).

Legend: N points, K objectives, all minimised.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imer_ray.results.pareto import non_domination_rank, pareto_front

MOST_EPOCHS = 100_000


def rungs(grace_epochs: int, reduction_factor: float) -> tuple[int, ...]:
    """The epochs grace_epochs * reduction_factor^k, k = 0, 1, ..., rounded, each once."""
    found: list[int] = []
    for k in itertools.count():
        epoch = round(grace_epochs * reduction_factor**k)
        if epoch > MOST_EPOCHS:
            return tuple(found)
        if not found or epoch > found[-1]:
            found.append(epoch)
    raise AssertionError  # never reached: the rungs grow


def brackets(num_brackets: int, reduction_factor: float) -> Iterator[int]:
    """The bracket of each trial, in the order in which trials are proposed. Trials of bracket s skip the first s rungs.

    A trial of bracket s is granted about reduction_factor^s times the epochs of one of bracket 0 before it is judged,
    so that it gets reduction_factor^-s as many trials and all brackets cost about the same (Hyperband). Without chance:
    each trial goes where most are lacking, to the lower bracket first.
    """
    shares = [reduction_factor**-s for s in range(num_brackets)]
    counts = [0] * num_brackets
    while True:
        s = min(range(num_brackets), key=lambda s: ((counts[s] + 1) / shares[s], s))
        counts[s] += 1
        yield s


def survives(points: ArrayLike, newcomer: int, reduction_factor: float) -> bool:
    """Whether a newcomer is among the best ceil(N / reduction_factor) of the points [N, K] that have reached a rung.

    Points are ordered by non-domination rank; those of one rank by crowding distance, largest first. Only points
    strictly ahead count against the newcomer, so that the first at a rung goes on, and so does whoever ties for the
    last place. All points must be finite.
    """
    remaining = np.asarray(points, dtype=np.float64)
    if not np.isfinite(remaining).all():
        raise ValueError("points at a rung must be finite")
    own, places = remaining[newcomer], math.ceil(len(remaining) / reduction_factor)
    while places > 0:
        front = pareto_front(remaining)
        crowded = remaining[front]
        if (crowded == own).all(1).any():
            distance = crowding_distance(crowded)
            return int((distance > distance[(crowded == own).all(1)][0]).sum()) < places
        places -= len(crowded)
        remaining = remaining[~front]
    return False


def order(points: ArrayLike) -> list[int]:
    """The points [N, K], the best first: by non-domination rank, those of one rank by crowding distance, ties by
    number."""
    values = np.asarray(points, dtype=np.float64)
    rank = non_domination_rank(values)
    distance = np.zeros(len(values))
    for level in range(rank.max() + 1 if len(rank) else 0):
        distance[rank == level] = crowding_distance(values[rank == level])
    return np.lexsort((np.arange(len(values)), -distance, rank)).tolist()


def crowding_distance(front: ArrayLike) -> NDArray[np.float64]:
    """[N]: how far apart the neighbours of each point of a front [N, K] are, summed over the objectives, each in units
    of its span; infinite for the ends. Equal points have the distance that one of them would have.
    """
    points, copies = np.unique(np.asarray(front, dtype=np.float64), axis=0, return_inverse=True)
    distance = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        sorted_values = values[order]
        span = sorted_values[-1] - sorted_values[0]
        if span > 0:
            distance[order[1:-1]] += (sorted_values[2:] - sorted_values[:-2]) / span
            distance[order[[0, -1]]] = np.inf
    if len(points) == 1:
        distance[:] = np.inf
    return distance[copies.reshape(-1)]

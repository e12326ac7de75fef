"""The expected improvement of a hypervolume."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from imer_ray.results.pareto import pareto_front

Array = NDArray[np.float64]
Warp = Callable[[Array], Array]
BLOCK = 512  # predictions at a time: what is kept of each grows with the front
EXACT = 1e-9  # deviation that stands for none
KNOTS = 33  # between the best on the front and the reference, evenly
MOST_BELOW = 24  # beyond the best, each twice as far away as the one before
SPREAD = 4.0  # deviations below which nothing is predicted


def expected_improvement(
    mean: Array,
    deviation: Array,
    found: Array,
    reference: Array,
    warps: Sequence[Warp | None] = (),
) -> Array:
    """[N] by how much the hypervolume of K minimised objectives is expected to grow, exactly.

    Two objectives: with the front's points (a_i, b_i) sorted by a, i = 1..n, a_0 = -inf, a_{n+1} and b_0 the
    reference's,
        E = sum_{i=0}^{n} (psi_1(a_{i+1}) - psi_1(a_i)) psi_2(b_i),    psi_k(c) = E max(c - Y_k, 0),
    as an improvement is a sum of strips, in each of which it is a product of independent objectives. More objectives:
    between two neighbouring values c_i < c_{i+1} of the last one on the front, what can be gained is that beside the
    front of those points whose last is at most c_i, in one objective less,
        E_K = sum_{i=0}^{n} (psi_K(c_{i+1}) - psi_K(c_i)) E_{K-1}({x_j: x_jK <= c_i}),    c_0 = -inf, c_{n+1} = r_K.
    There are about n^{K-1} / (K-1)! such boxes.

    Args:
        mean, deviation: [N, K] of the independent normal predictions; 0 is the deviation of what is known.
        found: [M, K] objectives of what is known.
        reference: [K]
        warps: of each objective the increasing function g of all numbers for which g(Y) is predicted; None: Y itself,
            as where there are no warps. It is taken for linear between the front's values and at least `KNOTS` others,
            of which psi is exact.

    Source: Emmerich, Deutz and Klinkenberg, Hypervolume-based expected improvement, 2011; as a sum over boxes that fill
    what is not dominated: Yang et al., Efficient computation of expected hypervolume improvement using box
    decomposition algorithms, 2019.
    """
    inside = found[(found < reference).all(1)]
    front = np.unique(inside[pareto_front(inside)], axis=0) if len(inside) else inside
    blocks = range(0, len(mean), BLOCK)
    every = tuple(warps) or (None,) * len(reference)
    parts = [_of_block(mean[i : i + BLOCK], deviation[i : i + BLOCK], front, reference, every) for i in blocks]
    return np.concatenate(parts) if parts else np.empty(0)


def _of_block(mean: Array, deviation: Array, front: Array, reference: Array, warps: Sequence[Warp | None]) -> Array:
    levels = np.vstack([front, reference])  # the reference is the last
    short = [
        _shortfall(levels[:, k], mean[:, k, None], np.maximum(deviation[:, k, None], EXACT), warp)
        for k, warp in enumerate(warps)
    ]
    return _gain(short, front, np.arange(len(front)))


def _gain(short: list[Array], front: Array, among: NDArray[np.intp]) -> Array:
    """[N] in the first objectives, beside those of the front that are ``among``, by their psi at the front's values."""
    num, last = len(short), len(front)
    own = among[_first_of_front(front[among, :num])]
    if num == 2:
        order = own[np.argsort(front[own, 0])]
        widths = np.diff(short[0][:, [*order, last]], axis=1, prepend=0.0)
        return np.einsum("ns,ns->n", widths, short[1][:, [last, *order]])
    order = own[np.argsort(front[own, num - 1], kind="stable")]
    heights = np.diff(short[-1][:, [*order, last]], axis=1, prepend=0.0)
    total = np.zeros(len(short[0]))
    for i, height in enumerate(heights.T):
        if i == 0 or i == len(order) or front[order[i], num - 1] > front[order[i - 1], num - 1]:
            total += height * _gain(short[:-1], front, order[:i])
    return total


def _first_of_front(points: Array) -> NDArray[np.intp]:
    """Indices of the front, of equal points the first."""
    on_front = np.flatnonzero(pareto_front(points)) if len(points) else np.empty(0, dtype=np.intp)
    _, first = np.unique(points[on_front], axis=0, return_index=True)
    return on_front[first]


def _shortfall(bound: Array, mean: Array, deviation: Array, warp: Warp | None) -> Array:
    """E max(bound - Y, 0) of a normal Y, or of one whose ``warp`` is normal: the integral of its distribution."""
    if warp is None:
        return deviation * _integral((bound - mean) / deviation)
    knots = np.union1d(bound, _knots(bound.min(), bound.max(), (mean - SPREAD * deviation).min(), warp))
    warped = warp(knots)
    slopes = np.maximum(np.diff(warped) / np.diff(knots), EXACT)
    integral = deviation * _integral((warped - mean) / deviation)
    parts = np.diff(integral, axis=1) / slopes
    until = np.cumsum(np.hstack([integral[:, :1] / slopes[0], parts]), axis=1)
    return until[:, np.searchsorted(knots, bound)]


def _knots(lowest: float, highest: float, least: float, warp: Warp) -> Array:
    """Values between two, and below them, ever further apart, until the function is at most ``least``."""
    span = highest - lowest if highest > lowest else max(abs(highest), 1.0)
    below = lowest - span / KNOTS * (np.exp2(np.arange(MOST_BELOW, dtype=np.float64)) - 1.0)
    last = int(np.searchsorted(-warp(below), -least))
    return np.concatenate([below[: max(2, last + 1)], np.linspace(lowest, highest, KNOTS)])


def _integral(z: Array) -> Array:
    """Of the standard normal distribution function, up to z."""
    below = ndtr(z)
    below *= z
    density = np.exp(-0.5 * z * z)
    density /= np.sqrt(2.0 * np.pi)
    below += density
    return below

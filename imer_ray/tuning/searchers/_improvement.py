"""The expected improvement of a hypervolume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from imer_ray.results.pareto import pareto_front

Array = NDArray[np.float64]


def expected_improvement(mean: Array, deviation: Array, found: Array, reference: Array) -> Array:
    """[N] by how much the hypervolume of two minimised objectives is expected to grow, exactly.

    With the front's points (a_i, b_i) sorted by a, i = 1..n, a_0 = -inf, a_{n+1} and b_0 the reference's,
        E = sum_{i=0}^{n} (psi_1(a_{i+1}) - psi_1(a_i)) psi_2(b_i),    psi(c) = E max(c - Y, 0),
    as an improvement is a sum of strips, in each of which it is a product of independent objectives.

    Args:
        mean, deviation: [N, 2] of the independent normal predictions.
        found: [M, 2] objectives of what is known.
        reference: [2]

    Source: Emmerich, Deutz and Klinkenberg, Hypervolume-based expected improvement, 2011; in strips: Yang et al.,
    Efficient computation of expected hypervolume improvement using box decomposition algorithms, 2019.
    """
    inside = found[(found < reference).all(1)]
    front = np.unique(inside[pareto_front(inside)], axis=0) if len(inside) else np.empty((0, 2))
    right = np.append(front[:, 0], reference[0])
    top = np.insert(front[:, 1], 0, reference[1])
    widths = np.diff(_shortfall(right, mean[:, :1], deviation[:, :1]), axis=1, prepend=0.0)
    return np.einsum("ns,ns->n", widths, _shortfall(top, mean[:, 1:], deviation[:, 1:]))


def _shortfall(bound: Array, mean: Array, deviation: Array) -> Array:
    """E max(bound - Y, 0) of a normal Y."""
    z = (bound - mean) / deviation
    return deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))

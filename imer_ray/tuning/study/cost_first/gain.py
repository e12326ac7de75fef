"""How much hypervolume a candidate of known cost can be expected to add."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]


def expected_gain(front: Array, reference: Array, mean: Array, std: Array, cost: Array) -> Array:
    r"""[N] the expected increase of the hypervolume by candidates of known cost and normal quality, both minimised.

    Let :math:`q(t)` be the best quality among points that cost at most t (the reference's where there is none). A
    candidate of quality y and cost c adds :math:`\int_c^{r_c} \max(0, q(t) - y)\,dt`. As q is a staircase with values
    :math:`q_j` on steps of which a length :math:`w_j(c)` lies beyond c, the expectation over
    :math:`y \sim N(\mu, \sigma^2)` is, with :math:`u_j = (q_j - \mu)/\sigma`,

    .. math:: \sum_j w_j(c)\,\sigma\,(u_j \Phi(u_j) + \varphi(u_j)),

    the expected improvement on each step (Emmerich et al., 2011, CEC, in two objectives, one of them known).

    Args:
        front: [M, 2] quality and cost of known points, not all of which need be on the front.
        reference: [2] the worst quality and cost that count.
        mean, std, cost: [N].
    """
    counted = front[(front < reference).all(1)]
    counted = counted[np.argsort(counted[:, 1], kind="stable")]
    begins = np.concatenate([[-np.inf], counted[:, 1]])
    ends = np.append(counted[:, 1], reference[1])
    best = np.minimum.accumulate(np.concatenate([[reference[0]], counted[:, 0]]))
    lengths = np.maximum(0.0, ends - np.maximum(begins, cost[:, None]))
    u = (best - mean[:, None]) / std[:, None]
    density = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
    return np.asarray((lengths * std[:, None] * (u * ndtr(u) + density)).sum(1))

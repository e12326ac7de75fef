"""Which point of the front to run with another seed next: the one that most likely does not belong there.

Legend: N points, n_i seeds of point i, two minimised objectives k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from imer_ray.results.pareto import pareto_front

SETTLED = 0.05  # a point as unlikely as this to be dominated by any other needs no further seed

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is known of a point.

    Attributes:
        values: [n, 2], minimised, one row per seed that was complete; at least one.
        num_running: further seeds that it is being run with.
        num_left: seeds that it may still be given.
    """

    values: Floats
    num_running: int = 0
    num_left: int = 0

    @property
    def count(self) -> int:
        """Seeds that it has, or will have soon."""
        return len(self.values) + self.num_running


def next_to_run(samples: Sequence[Sample]) -> int | None:
    """The point on the front of the means that is most in doubt, see `doubts`; None if all are settled or have no seeds
    left. A point is settled if it has two seeds, so that it has an interval, and is hardly in doubt.

    Until any point has a second result nothing is known of the spread; then it is the one with fewest seeds.
    """
    if not samples:
        return None
    front = pareto_front(_means(samples))
    candidates = [i for i in np.flatnonzero(front).tolist() if samples[i].num_left > 0]
    if not candidates:
        return None
    if sum(len(sample.values) - 1 for sample in samples) == 0:
        return min(candidates, key=lambda i: samples[i].num_running)
    in_doubt = dict(zip(candidates, doubts(samples, candidates).tolist(), strict=True))
    open_ones = [i for i in candidates if samples[i].count == 1 or in_doubt[i] >= SETTLED]
    return max(open_ones, key=lambda i: in_doubt[i]) if open_ones else None


def doubts(samples: Sequence[Sample], of: Sequence[int]) -> Floats:
    """How likely each of these points is dominated by the one that most likely does so, max over all j of

        P(j dominates i) = prod_k T_nu((m_ik - m_jk) / (s_k sqrt(1 / n_i + 1 / n_j))),

    with m the means, s_k the standard deviation over seeds, pooled over all points, T_nu the distribution function of
    Student's t with nu = sum_i (n_i - 1) degrees of freedom. Runs that are under way count among the n, so that not
    all of them go to one point. NaN if nu = 0.

    The product takes objectives and points as independent, which makes points that share their training look more
    uncertain than they are: some seeds too many, none too few.

    Source: Hughes, Evolutionary multi-objective ranking with uncertainty and noise, EMO 2001, with the spread estimated
    instead of known.
    """
    freedom = sum(len(sample.values) - 1 for sample in samples)
    if freedom == 0:
        return np.full(len(of), np.nan)
    means = _means(samples)
    squares = np.sum([((s.values - mean) ** 2).sum(0) for s, mean in zip(samples, means, strict=True)], axis=0)
    counts = np.array([sample.count for sample in samples])
    error = np.sqrt(squares / freedom) * np.sqrt(1 / counts[of, None] + 1 / counts)[..., None]
    lead = means[of, None] - means  # [i, j]: by how much j is better
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, lead / error, np.sign(lead) * np.inf)
    better = np.where(np.isnan(t), 0.5, stdtr(freedom, np.nan_to_num(t, nan=0.0)))  # no spread and no lead: either
    dominated = better.prod(-1)
    dominated[range(len(of)), of] = 0.0
    return dominated.max(1)


def _means(samples: Sequence[Sample]) -> Floats:
    return np.array([sample.values.mean(0) for sample in samples])

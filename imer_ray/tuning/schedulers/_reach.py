"""How much unfinished trainings can be expected to add to the front, told from how those that ended had stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.improvement import expected_improvement
from imer_ray.results.pareto import pareto_front

MIN_KNOWN = 8  # trials that ended, before which nothing is foretold

Costs = Sequence[float | None]


class Reach:
    r"""A straight line from the value v at a rung to the quality q of the trial's own point in the end, both minimised,

    .. math:: q = a + b v + \varepsilon, \quad b \ge 0,

    by least squares over the trials that ended. A training at v is taken to end at a quality that is normal about the
    line with the variance of a further observation, :math:`s^2 (1 + 1/n + (v - \bar v)^2 / S)` (Draper and Smith,
    Applied regression analysis, 1998, section 3.1), at its known costs; what it can be expected to add is
    `imer_ray.results.improvement.expected_improvement`. The trials that ended are those that were let go on,
    so that the line is of the better ones. What is no cost is as it was of the others.

    Args:
        reference: of the study's hypervolume.
    """

    def __init__(self, reference: Sequence[float]) -> None:
        self._reference = np.asarray(reference, dtype=np.float64)
        self._quality: dict[int, float] = {}
        self._known = self._front = np.empty((0, len(self._reference)))
        self._so_far = 0.0  # hypervolume

    def ended(self, trial: int, points: Sequence[Sequence[float]]) -> None:
        """A trial is complete, with the objectives of its own point first and of those of its further points."""
        self._quality[trial] = points[0][0]
        together = np.vstack([self._front, points])
        self._front = together[pareto_front(together)]
        self._so_far = hypervolume(self._front, self._reference.tolist())
        self._known = np.vstack([self._known, points])

    def gains(
        self, values: Sequence[float], costs: Sequence[Costs], reached: Mapping[int, float]
    ) -> NDArray[np.float64] | None:
        """[N] what trainings can be expected to add, each by itself, as shares of the hypervolume so far; None while
        nothing is foretold.

        Args:
            values: [N] at their rung.
            costs: [N] of each its speed and further objectives; None for what is not known.
            reached: trial -> value of all trials at the rung.
        """
        known = [(reached[trial], quality) for trial, quality in self._quality.items() if trial in reached]
        if len(known) < MIN_KNOWN or self._so_far == 0:
            return None
        mean, deviation = np.empty((2, len(values), len(self._reference)))
        mean[:, 0], deviation[:, 0] = _foretold(np.asarray(values), np.array(known))
        others = np.array([[np.nan if cost is None else cost for cost in of] for of in costs]).reshape(len(values), -1)
        mean[:, 1:] = np.where(np.isnan(others), self._known[:, 1:].mean(0), others)
        deviation[:, 1:] = np.where(np.isnan(others), self._known[:, 1:].std(0), 0.0)
        return expected_improvement(mean, deviation, self._front, self._reference) / self._so_far


def _foretold(values: NDArray[np.float64], known: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Means and standard deviations [N] of the qualities in the end."""
    v, q = known.T
    n, middle = len(known), float(v.mean())
    spread = float(((v - middle) ** 2).sum())
    slope = max(0.0, float(((v - middle) * q).sum()) / spread) if spread > 0 else 0.0
    left = q - q.mean() - slope * (v - middle)
    wide = 1 + 1 / n + ((values - middle) ** 2 / spread if slope > 0 else np.zeros(len(values)))
    return q.mean() + slope * (values - middle), np.sqrt((left**2).sum() / (n - 2) * wide)

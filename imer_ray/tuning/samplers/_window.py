"""A sampler that sees the best and the latest of a study's trials, so that its time does not grow with the study."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from analysis.pareto import pareto_front
from imer_ray.tuning.samplers import ANSWERED

NUM_LATEST = 250
NUM_BEST = 30  # Optuna's TPE takes the best tenth of what it sees for good, so these must be a tenth of both together

LATE = 64  # so many of the latest complete trials are not noted yet: an earlier one may still end before them

# Of each study's earlier complete trials, which do not change any more: number, objectives, violation of constraints
_noted: WeakKeyDictionary[Study, NDArray[np.float64]] = WeakKeyDictionary()


class Window(BaseSampler):
    """Lets a sampler see of the complete trials those on the first fronts, whole fronts until they are `NUM_BEST`, and
    the `NUM_LATEST` told last; of the others those that run.

    For TPE the good trials are thus the best of all, though no longer a tenth of them; those that it holds against them
    are the latest, which it weighs most in any case (its weights fall linearly with age, Bergstra et al., 2013).
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        self._view: Study | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(self._seen(study), trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._view = None
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def _seen(self, study: Study) -> Study:
        """The study as it was when the trial's first parameter was asked for."""
        if self._view is None:
            self._view = cast(Study, _View(study, window(study)))
        return self._view


class _View:
    """A study that has only some of its trials."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """As `optuna.Study` has it, through which its samplers ask."""
        return [trial for trial in self._trials if states is None or trial.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def window(study: Study, num_best: int = NUM_BEST, num_latest: int = NUM_LATEST) -> list[FrozenTrial]:
    """The best and latest of the complete trials, in the study's order, and the trials that run."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
    trials = [trial for trial in trials if ANSWERED not in trial.user_attrs]  # it would be counted twice
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) <= num_latest:
        return trials
    table = _table(study, complete)
    best = _best(table[:, 1:-1], table[:, -1], num_best)
    latest = range(len(complete) - num_latest, len(complete))
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    return [complete[i] for i in sorted({*best, *latest})] + running


def _table(study: Study, complete: Sequence[FrozenTrial]) -> NDArray[np.float64]:
    """[N, 2 + objectives]: number, objectives and violation of each complete trial."""
    noted = _noted.get(study)
    if (
        noted is None or not len(noted) or noted[-1, 0] != complete[len(noted) - 1].number
    ):  # an earlier trial has ended after all
        noted = np.empty((0, 2 + len(study.directions)))
    rows = [
        (trial.number, *trial.values, sum(v for v in trial.constraints.values() if v > 0))
        for trial in complete[len(noted) :]
    ]
    table = np.vstack([noted, rows])
    _noted[study] = table[:-LATE]
    return table


def _best(values: NDArray[np.float64], violation: NDArray[np.float64], num_best: int) -> list[int]:
    """Indices of at least ``num_best``: whole fronts of the feasible trials, then those that violate least."""
    best: list[int] = []
    remaining = np.flatnonzero(violation <= 0)
    while len(best) < num_best and len(remaining):
        on_front = pareto_front(values[remaining])
        best.extend(remaining[on_front].tolist())
        remaining = remaining[~on_front]
    infeasible = np.flatnonzero(violation > 0)
    order = infeasible[np.argsort(violation[infeasible], kind="stable")]
    return best + order[: max(0, num_best - len(best))].tolist()

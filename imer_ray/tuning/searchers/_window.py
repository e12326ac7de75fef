"""A sampler that sees the best and the latest of a study's trials, so that its time does not grow with the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from imer_ray.results.pareto import pareto_front
from imer_ray.tuning.searchers import FIDELITY, RESUMED, TRIAL
from imer_ray.tuning.searchers._wrapper import Wrapper, rank
from imer_ray.tuning.study._optuna import seen, view

NUM_LATEST = 135
NUM_BEST = 15  # Optuna's TPE takes the best tenth of what it sees for good, so these must be a tenth of both together


@dataclass(frozen=True)
class _Noted:
    """The earlier trials of a study, as far as nothing about them can change any more.

    Attributes:
        count, last: how many complete or running trials these were, and the last one's number.
        complete: those of them that count.
        table: [N, objectives + 1] their objectives and violation of constraints.
    """

    count: int
    last: int
    complete: list[FrozenTrial]
    table: NDArray[np.float64]


_noted: WeakKeyDictionary[Study, _Noted] = WeakKeyDictionary()


class Window(Wrapper):
    """Lets a sampler see of the complete trials those on the first fronts, whole fronts until they are `NUM_BEST`, and
    the `NUM_LATEST` told last; of the others those that run.

    For TPE the good trials are thus the best of all, though no longer a tenth of them; those that it holds against them
    are the latest, which it weighs most in any case (its weights fall linearly with age, Bergstra et al., 2013).
    """

    def __init__(self, sampler: BaseSampler) -> None:
        super().__init__(sampler)
        self._view: Study | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        known = self._seen(study)
        return self._sampler.infer_relative_search_space(view(study, _one_of_each(known)), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(self._seen(study), trial, param_name, param_distribution)

    def rank(self, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
        return rank(self._sampler, self._seen(study), candidates)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._view = None
        self._sampler.before_trial(study, trial)

    def _seen(self, study: Study) -> Study:
        """The study as it was when the trial's first parameter was asked for."""
        if self._view is None:
            self._view = view(study, window(study))
        return self._view


def _one_of_each(study: Study) -> list[FrozenTrial]:
    """A complete trial for every set of parameters that occurs: of all that a search space is inferred from, what
    makes a difference, as a parameter has one distribution."""
    trials = seen(study, TrialState.COMPLETE)
    return list({tuple(trial.params): trial for trial in reversed(trials)}.values())


def window(study: Study, num_best: int = NUM_BEST, num_latest: int = NUM_LATEST) -> list[FrozenTrial]:
    """The best and latest of the complete trials, in the study's order, and the trials that run; of one that went on
    where it was stopped only what came of it."""
    complete, running, table = _known(study)
    if len(complete) <= num_latest:
        return _once(complete + running)
    best = _best(table[:, :-1], table[:, -1], num_best)
    latest = range(len(complete) - num_latest, len(complete))
    return _once([complete[i] for i in sorted({*best, *latest})] + running)


def _once(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    again = {trial.user_attrs[TRIAL] for trial in trials if RESUMED in trial.user_attrs}
    stopped = (FIDELITY in trial.constraints and trial.user_attrs.get(TRIAL) in again for trial in trials)
    return [trial for trial, is_past in zip(trials, stopped, strict=True) if not is_past] if again else trials


def _known(study: Study) -> tuple[list[FrozenTrial], list[FrozenTrial], NDArray[np.float64]]:
    """Complete trials, running trials, and the complete ones' table. Looks only at those since the first that runs."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
    noted = _noted.get(study, _Noted(0, -1, [], np.empty((0, 1 + len(study.directions)))))
    if noted.count and (len(trials) < noted.count or trials[noted.count - 1].number != noted.last):
        del _noted[study]  # one that had waited for long runs now
        return _known(study)
    complete, running, rows, settled = list(noted.complete), list[FrozenTrial](), [], noted.count
    for trial in trials[noted.count :]:
        if trial.state == TrialState.RUNNING:
            running.append(trial)
        else:  # a known proposal that was answered counts again: what is not told is proposed for ever
            complete.append(trial)
            rows.append((*trial.values, sum(v for v in trial.constraints.values() if v > 0)))
        settled += not running
    table = np.vstack([noted.table, rows]) if rows else noted.table
    if settled > noted.count:
        last = trials[settled - 1].number
        count = sum(trial.number <= last for trial in complete[len(noted.complete) :]) + len(noted.complete)
        _noted[study] = _Noted(settled, last, complete[:count], table[:count])
    return complete, running, table


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

"""Gaussian processes and expected hypervolume improvement (Daulton et al., 2020, arXiv:2006.05078), by Optuna.

Optuna's sampler models parameters that all trials have and draws the others at random. Here every trial has all of
them: one that does not exist in a trial stands at the middle of its range (or its first choice), as in SMAC (Hutter et
al., 2011, section 4.1), so that conditional parameters are modelled, too. What is proposed for one that does not exist
is not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study, create_study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from imer_ray.tuning.searchers import FIDELITY
from imer_ray.tuning.searchers._random_first import RandomFirst
from imer_ray.tuning.searchers._window import window
from imer_ray.tuning.study._optuna import RankingGP

NUM_LATEST = 150  # trials modelled beside the best: a fit takes the third power of their number


def build(seed: int, population: int) -> BaseSampler:
    return RandomFirst(seed, ImputedGP(seed), population)


class ImputedGP(BaseSampler):
    """Optuna's GPSampler on trials that all have every parameter."""

    def __init__(self, seed: int) -> None:
        self._gp = RankingGP(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        space: dict[str, BaseDistribution] = {}
        for complete in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            space.update(complete.distributions)
        return {name: space[name] for name in sorted(space) if not space[name].single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space or self._gp.candidates:  # of which one has been chosen
            return {}
        return self._ask(study, search_space)

    def rank(self, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
        """[N] the logarithm of the expected improvement that the sampler maximises."""
        space = self.infer_relative_search_space(study, create_trial(state=TrialState.RUNNING))
        if not space:
            return None
        self._gp.candidates = [_full(candidate, space) for candidate in candidates]
        self._ask(study, space)
        return self._gp.scores

    def _ask(self, study: Study, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        filled = create_study(directions=study.directions, sampler=self._independent)
        trials = window(study, num_latest=NUM_LATEST)
        filled.add_trials(_filled([trial for trial in trials if trial.params], search_space))
        filled.ask()  # the trial that is sampled for
        return self._gp.sample_relative(filled, filled.get_trials(deepcopy=False)[-1], search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Of a parameter that no complete trial has had."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _filled(trials: list[FrozenTrial], space: Mapping[str, BaseDistribution]) -> list[FrozenTrial]:
    """Copies with a value for each parameter, and for each constraint that any of them violates.

    Trials that were stopped stand at the worst that was measured: what is to be learnt of them is not to go there
    again (the constant liar of Ginsbourger et al., 2010).
    """
    violated = sorted({name for trial in trials for name, value in trial.constraints.items() if value > 0})
    measured = [trial.values for trial in trials if trial.values and FIDELITY not in trial.constraints]
    worst = [max(values) for values in zip(*measured, strict=True)]
    return [
        create_trial(
            state=trial.state,
            values=worst if worst and FIDELITY in trial.constraints else trial.values,
            params=_full(trial.params, space),
            distributions=dict(space),
            constraints={name: trial.constraints.get(name, 0.0) for name in violated},
        )
        for trial in trials
    ]


def _full(params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    return {name: params[name] if name in params else _middle(space[name]) for name in space}


def _middle(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return low + (high - low) // (2 * distribution.step) * distribution.step
    if isinstance(distribution, IntDistribution):
        return round(math.sqrt(low * high))
    if distribution.log:
        return math.sqrt(low * high)
    middle = (low + high) / 2
    return middle if distribution.step is None else low + round((middle - low) / distribution.step) * distribution.step

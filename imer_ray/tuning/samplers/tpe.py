"""Multi-objective tree-structured Parzen estimator (Ozaki et al., 2022), jointly over parameters that occur together.

``group`` models each set of parameters that exist together on its own, as conditional spaces need; ``constant_liar``
keeps trials that run at the same time apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from imer_ray.tuning.samplers import DERIVED


def build(seed: int, population: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        tpe = TPESampler(seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True)
    return RandomFirst(RandomSampler(seed=seed), tpe, population)


class RandomFirst(BaseSampler):
    """Draws at random until ``num_random`` proposed trials are complete.

    TPESampler would count derived points too, which differ from their trial in the number of sampler steps alone.
    """

    def __init__(self, first: BaseSampler, then: BaseSampler, num_random: int) -> None:
        self._first = first
        self._then = then
        self._num_random = num_random
        self._started = False

    def _sampler(self, study: Study) -> BaseSampler:
        if not self._started:
            complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            self._started = sum(DERIVED not in trial.user_attrs for trial in complete) >= self._num_random
        return self._then if self._started else self._first

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler(study).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler(study).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler(study).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler(study).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler(study).after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._first.reseed_rng()
        self._then.reseed_rng()

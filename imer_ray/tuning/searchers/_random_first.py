"""A sampler that leaves the beginning of a study to chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from imer_ray.results.proposals import START_UP
from imer_ray.tuning.searchers import ANSWERED, DERIVED, ORIGIN, RESUMED, TRIAL
from imer_ray.tuning.searchers._wrapper import rank
from imer_ray.tuning.study._optuna import note

_begun: WeakSet[Study] = WeakSet()  # whose random trials are complete, and so remain


class RandomFirst(BaseSampler):
    """Draws at random until ``num_random`` proposed trials are complete.

    Optuna's own samplers would count derived points too, which differ from their trial in its evaluation alone.
    """

    def __init__(self, seed: int, then: BaseSampler, num_random: int) -> None:
        self._first = RandomSampler(seed=seed)
        self._then = then
        self._num_random = num_random

    def _sampler(self, study: Study) -> BaseSampler:
        if study not in _begun:
            complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            own = sum(not {DERIVED, ANSWERED, RESUMED} & trial.user_attrs.keys() for trial in complete)
            if own < self._num_random:
                return self._first
            _begun.add(study)
        return self._then

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
        sampler = self._sampler(study)
        if sampler is self._first and not {ORIGIN, TRIAL} & trial.user_attrs.keys():
            note(study, trial, ORIGIN, START_UP)
        sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler(study).after_trial(study, trial, state, values)

    def rank(self, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
        return rank(self._sampler(study), study, candidates)

    def reseed_rng(self) -> None:
        self._first.reseed_rng()
        self._then.reseed_rng()

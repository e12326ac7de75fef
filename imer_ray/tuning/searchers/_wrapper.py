"""What samplers around another sampler have in common: whatever they do not change is the other's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from imer_ray.tuning.space.space import Space


def rank(sampler: BaseSampler, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """A sampler's scores of the candidates, the highest of what it would propose first; None if it has no model."""
    scores = getattr(sampler, "rank", None)
    return None if scores is None else scores(study, candidates)


def begin(sampler: BaseSampler, space: Space, seed: int) -> None:
    """Tell a sampler that asks for it what the study searches, and the study's own seed."""
    if (told := getattr(sampler, "begin", None)) is not None:
        told(space, seed)


def hold(sampler: BaseSampler, values: Mapping[str, Any]) -> None:
    """Tell a sampler that asks for it what the next proposal will have, whatever it proposes."""
    if (told := getattr(sampler, "hold", None)) is not None:
        told(values)


class Wrapper(BaseSampler):
    """Does as ``sampler`` does."""

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def begin(self, space: Space, seed: int) -> None:
        begin(self._sampler, space, seed)

    def rank(self, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
        return rank(self._sampler, study, candidates)

"""A sampler that draws parameters which not every configuration has only when one has them."""

from __future__ import annotations

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from imer_ray.tuning.searchers._wrapper import Wrapper
from imer_ray.tuning.study._optuna import seen


class LazyGroups(Wrapper):
    """Parameters that always occur together are a group, and one draw of a sampler that models each group on its own.

    Optuna wants all groups before it is known which of them will exist. Here those that are not in every trial are
    drawn when the first of their parameters is asked for: most of a proposal's time, where few of them exist.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        super().__init__(sampler)
        self._groups: dict[str, frozenset[int]] = {}  # parameter -> which of the trials have it
        self._later: dict[str, BaseDistribution] = {}
        self._drawn: dict[str, Any] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        space = self._sampler.infer_relative_search_space(study, trial)
        complete = seen(study, TrialState.COMPLETE)
        self._groups = {name: frozenset(i for i, t in enumerate(complete) if name in t.params) for name in space}
        self._later = {name: space[name] for name, group in self._groups.items() if len(group) < len(complete)}
        self._drawn = {}
        return {name: distribution for name, distribution in space.items() if name not in self._later}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._later and param_name not in self._drawn:
            own = self._groups[param_name]
            group = {name: distribution for name, distribution in self._later.items() if self._groups[name] == own}
            self._drawn |= self._sampler.sample_relative(study, trial, group)
        if param_name in self._drawn:
            return self._drawn[param_name]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

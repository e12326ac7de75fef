"""Several cheap inner configurations for each expensive prefix."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from imer_ray.tuning.searchers import RESUMED, TRIAL
from imer_ray.tuning.searchers._wrapper import Wrapper, hold


class SharedPrefix(Wrapper):
    """Keeps the prefix of a proposal for those that follow it, until ``num_trials`` in a row share it.

    What else there is the sampler draws as if it had drawn the prefix, too. All is seen in the study's trials, so that
    nothing is lost with a driver.

    Args:
        paths: the prefix; with a parameter those on which its existence depends.
    """

    def __init__(self, sampler: BaseSampler, paths: Collection[str], num_trials: int) -> None:
        super().__init__(sampler)
        self._paths = frozenset(paths)
        self._num_trials = num_trials
        self._held: dict[str, Any] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._held = self._prefix(study.get_trials(deepcopy=False)[: trial.number])
        hold(self._sampler, self._held)
        space = self._sampler.infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in space.items() if name not in self._held}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._held:
            return self._held[param_name]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def held(self, study: Study) -> dict[str, Any]:
        """The prefix that the next proposal shall have; empty if it is free."""
        return self._prefix(study.get_trials(deepcopy=False))

    def _prefix(self, before: Sequence[FrozenTrial]) -> dict[str, Any]:
        """The latest proposal's, unless enough have it already."""
        shared: list[dict[str, Any]] = []
        for other in reversed(before):
            if TRIAL in other.user_attrs and RESUMED not in other.user_attrs:
                shared.append({name: value for name, value in other.params.items() if name in self._paths})
                if shared[-1] != shared[0] or len(shared) == self._num_trials:
                    break
        return shared[0] if shared and not _all_equal(shared, self._num_trials) else {}


def _all_equal(shared: Sequence[dict[str, Any]], number: int) -> bool:
    return len(shared) == number and all(prefix == shared[0] for prefix in shared)

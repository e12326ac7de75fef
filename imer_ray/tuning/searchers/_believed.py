"""What the user believes in, proposed more often at the beginning."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from imer_ray.tuning.searchers import TRIAL
from imer_ray.tuning.searchers._wrapper import Wrapper, hold

FIRST_SHARE = 0.5


class Believed(Wrapper):
    r"""Gives a parameter the value that is believed in, each by itself and with probability

    .. math:: \tfrac12 \frac{s}{s + n}

    after n proposals, and leaves it to the sampler otherwise: half of the proposals at first, a quarter after s, and so
    on, so that a wrong belief costs less the more is known. What else there is the sampler draws as if it had drawn
    these values, too. Works with any sampler, as it touches no model.

    Args:
        values: path -> what is believed in.
        seed: of this proposal.
        fading: s.

    Source: a belief whose weight falls as the trials' number grows, as in Hvarfner et al., 2022, piBO,
    arXiv:2204.11051; drawn beside the sampler's own proposals as in Mallik et al., 2023, PriorBand, arXiv:2306.12370.
    """

    def __init__(self, sampler: BaseSampler, values: Mapping[str, Any], seed: int, fading: int) -> None:
        super().__init__(sampler)
        self._values, self._seed, self._fading = values, seed, fading
        self._chosen: dict[str, Any] = {}
        self._held: Mapping[str, Any] = {}

    def hold(self, values: Mapping[str, Any]) -> None:
        """What the next proposal will have in any case."""
        self._held = dict(values)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        before = study.get_trials(deepcopy=False)[: trial.number]
        num = len({other.user_attrs[TRIAL] for other in before if TRIAL in other.user_attrs})
        share, rng = FIRST_SHARE * self._fading / (self._fading + num), random.Random(self._seed)
        self._chosen = {path: value for path, value in self._values.items() if rng.random() < share}
        hold(self._sampler, {**self._chosen, **self._held})
        space = self._sampler.infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in space.items() if name not in self._chosen}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._chosen:
            return self._chosen[param_name]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

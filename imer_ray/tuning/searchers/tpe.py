"""Multi-objective tree-structured Parzen estimator (Ozaki et al., 2022), jointly over parameters that occur together.

``group`` models each set of parameters that exist together on its own, as conditional spaces need; ``constant_liar``
keeps trials that run at the same time apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState, create_trial

from imer_ray.tuning.searchers._lazy_groups import LazyGroups
from imer_ray.tuning.searchers._random_first import RandomFirst
from imer_ray.tuning.searchers._window import Window


def build(seed: int, population: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        tpe = RankingTPE(seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True)
    return RandomFirst(seed, Window(LazyGroups(tpe)), population)


class RankingTPE(TPESampler):
    """Optuna's, which also says of configurations that it did not draw how promising they are."""

    _densities: Any = None  # of the good and of the other trials, as last used

    def _compute_acquisition_func(self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any) -> Any:
        self._densities = (mpe_below, mpe_above)
        return super()._compute_acquisition_func(samples, mpe_below, mpe_above)

    def rank(self, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """[N] log l(x) - log g(x), summed over the groups of parameters that a configuration x has."""
        new = create_trial(state=TrialState.RUNNING)
        self.infer_relative_search_space(study, new)
        assert self._search_space_group is not None
        scores = np.zeros(len(candidates))
        for space in self._search_space_group.search_spaces:
            group = {name: space[name] for name in sorted(space) if not space[name].single()}
            own = [i for i, candidate in enumerate(candidates) if group and group.keys() <= candidate.keys()]
            if own:
                self._sample(study, new, group)  # for its densities
                values = {name: [candidates[i][name] for i in own] for name in group}
                numbers = {name: np.array([group[name].to_internal_repr(v) for v in values[name]]) for name in group}
                scores[own] += super()._compute_acquisition_func(numbers, *self._densities)
        return scores

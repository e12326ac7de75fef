"""Multi-objective tree-structured Parzen estimator (Ozaki et al., 2022), jointly over parameters that occur together.

``group`` models each set of parameters that exist together on its own, as conditional spaces need; ``constant_liar``
keeps trials that run at the same time apart. The further points of a trial are trials of their own to it, each ranked
by itself.
"""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler

from imer_ray.tuning.searchers._lazy_groups import LazyGroups
from imer_ray.tuning.searchers._random_first import RandomFirst
from imer_ray.tuning.searchers._window import Window
from imer_ray.tuning.study._optuna import RankingTPE


def build(seed: int, population: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        tpe = RankingTPE(seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True)
    return RandomFirst(seed, Window(LazyGroups(tpe)), population)

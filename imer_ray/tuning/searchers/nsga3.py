"""NSGA-III: as NSGA-II, but survivors are spread over reference directions (Deb and Jain, 2014).

Das and Dennis divide the line of two objectives into p parts by p + 1 directions; here there is one for each member of
a population, as its authors take it.
"""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler


def build(seed: int, population: int) -> BaseSampler:
    size = max(2, population)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return NSGAIIISampler(seed=seed, population_size=size, dividing_parameter=size - 1)

"""NSGA-III: as NSGA-II, but survivors are spread over reference directions (Deb and Jain, 2014).

Das and Dennis divide each edge of the simplex of K objectives into p parts by (p + K - 1 choose K - 1) directions; here
there is about one for each member of a population, as its authors take it: with two objectives just as many.
"""

import math
import warnings

from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler, RandomSampler
from optuna.trial import FrozenTrial

from imer_ray.tuning.searchers._wrapper import Wrapper


def build(seed: int, population: int) -> BaseSampler:
    return Directed(seed, max(2, population))


class Directed(Wrapper):
    """Optuna's sampler, with as many directions as the objectives of the study that it first proposes for want."""

    def __init__(self, seed: int, size: int) -> None:
        super().__init__(RandomSampler(seed=seed))  # who is asked where nothing is proposed
        self._seed, self._size = seed, size

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = _sampler(self._seed, self._size, len(study.directions))
        super().before_trial(study, trial)


def parts(size: int, num_objectives: int) -> int:
    """Into how many parts to divide an edge: the most that give no more than ``size`` directions, at least one."""
    p = 1
    while math.comb(p + num_objectives, num_objectives - 1) <= size:
        p += 1
    return p


def _sampler(seed: int, size: int, num_objectives: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return NSGAIIISampler(seed=seed, population_size=size, dividing_parameter=parts(size, num_objectives))

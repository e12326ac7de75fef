"""Independent uniform draws: the yardstick of every other sampler."""

from optuna.samplers import BaseSampler, RandomSampler


def build(seed: int, population: int) -> BaseSampler:
    return RandomSampler(seed=seed)

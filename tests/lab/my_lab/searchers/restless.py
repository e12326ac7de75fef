"""NSGA-II that mutates every third setting."""

from optuna.samplers import BaseSampler, NSGAIISampler


def build(seed: int, population: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=max(2, population), mutation_prob=1 / 3)

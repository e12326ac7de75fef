"""NSGA-II: generations of ``population`` trials, crossed and mutated (Deb et al., 2002)."""

from optuna.samplers import BaseSampler, NSGAIISampler


def build(seed: int, population: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=max(2, population))

"""Samplers: each file builds one way to propose a study's next trial.

A sampler offers ``build(seed, population) -> optuna.samplers.BaseSampler`` for two minimised objectives and conditional
parameters. ``population`` is how many trials are drawn at random before, or together, they say anything.
"""

TRIAL = "trial"  # user attribute of a proposal: its number among ours; set last, so that one that has it is whole
DERIVED = "derived_from"  # user attribute of an Optuna trial that no sampler proposed: the number of the one that did
ANSWERED = "answered_from"  # of a proposal that was known already: trial and point whose results it was told
FIDELITY = "fidelity"  # constraint that a stopped trial violates: by the share of its training that it lacks

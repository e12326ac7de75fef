"""As ``masked``, with every second clip complete in training."""

from dataclasses import replace

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import masked


def graph(config: ExperimentConfig, split: str) -> Stage:
    return masked.graph(replace(config, training=replace(config.training, modality_dropout=0.5)), split)

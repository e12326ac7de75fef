"""Baseline: the recogniser of complete data, with zeros (the training mean) where a modality is missing."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: ExperimentConfig, split: str) -> Stage:
    encoded = _stages.encode(config, modality_dropout=0.0)
    return _stages.evaluate(config, split, encoded, encoded, {})

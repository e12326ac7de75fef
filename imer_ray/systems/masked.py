"""Baseline and honest rival: a recogniser trained with missing modalities, no recovery."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: ExperimentConfig, split: str) -> Stage:
    encoded = _stages.encode(config)
    return _stages.evaluate(config, split, encoded, _stages.recognise(config, encoded, None), {})

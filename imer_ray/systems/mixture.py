"""Rival without a network after the encoder: encode -> mixture -> evaluate; see `imer_ray.models.mixture`."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Mixture, MixtureSizes
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages

SIZES = MixtureSizes(ranks=(3, 6, 12), num_components=(1, 2, 4, 6))


def graph(config: ExperimentConfig, split: str) -> Stage:
    """The mixture stands for recovery and recogniser at once."""
    encoded = _stages.encode(config)
    fitted = _stages.stage("mixture", Mixture.of(config, mixture=SIZES), encode=encoded)
    return _stages.evaluate(config, split, encoded, fitted, {})

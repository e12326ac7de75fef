"""Rival without a network after the encoder: encode -> mixture -> evaluate; see `imer_ray.models.mixture`, and
`imer_ray.models.frame_mixture` where frames are missing."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Mixture, MixtureSizes
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages

SIZES = MixtureSizes(ranks=(3, 6, 12), num_components=(1, 2, 4, 6))


def graph(config: ExperimentConfig, split: str) -> Stage:
    """The mixture stands for recovery and recogniser at once."""
    encoded, protocol = _stages.encode(config), _stages.frames_missing(config)
    by_frames = {} if protocol is None else {"encoder": config.encoder, "protocol": protocol}
    fitted = _stages.stage("mixture", Mixture.of(config, mixture=SIZES, **by_frames), encode=encoded)
    return _stages.evaluate(config, split, encoded, fitted, {})

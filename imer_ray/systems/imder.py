"""IMDer (Wang et al., NeurIPS 2023): encode -> joint -> evaluate; see `imer_ray.tasks.joint` for what was mended."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Joint
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages, masked


def graph(config: ExperimentConfig, split: str) -> Stage:
    """Diffusion and recogniser are one stage, so that every change of either trains both again."""
    if not _stages.recovers(config):
        return masked.graph(config, split)
    encoded = _stages.encode(config)
    read = Joint.of(config, protocol=_stages.frames_missing(config))
    joint = _stages.stage("joint", read, encode=encoded, **_stages.prior(config, encoded))
    networks = {f"network_{m}": joint for m in _stages.MODALITIES}
    return _stages.evaluate(config, split, encoded, joint, networks)

"""IMDer (Wang et al., NeurIPS 2023): encode -> joint -> evaluate; see `imer_ray.tasks.joint` for what was mended."""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: Mapping[str, Any], split: str) -> Stage:
    """Diffusion and recogniser are one stage, so that every change of either trains both again."""
    encoded = _stages.encode(config)
    slices = {
        **{name: config[name] for name in ("encoder", "fusion", "refiner")},
        "diffusion": {k: v for k, v in config["diffusion"].items() if k != "num_draws"},
        "loss": {"diffusion": config["loss"]["diffusion"]},
        "training": {"joint": config["training"]["joint"]},
    }
    joint = _stages.stage("joint", "joint", config, slices, encode=encoded)
    networks = {f"network_{m}": joint for m in _stages.MODALITIES}
    return _stages.evaluate(config, split, encoded, joint, networks)

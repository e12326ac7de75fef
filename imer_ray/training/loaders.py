"""What fills missing modalities in a system: diffusions, an imputer, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from safetensors.torch import load_file
from torch import nn

from imer_ray.config.components import build
from imer_ray.models.recovery import build_recovery
from imer_ray.stages.context import Context
from imer_ray.tasks.encode import load_shape
from imer_ray.tasks.pretrain import load_recovery

IMPUTER_FILE = "imputer.safetensors"


def build_imputer(config: Mapping[str, Any], num_frames: int, recoverable: Iterable[str]) -> nn.Module:
    """The imputer that ``config["imputer"]`` names, not fitted yet."""
    return build(config["imputer"]).build(config["encoder"]["latent_dim"], num_frames, recoverable)


def build_filling(config: Mapping[str, Any], num_frames: int, recoverable: Iterable[str]) -> Any:
    """An untrained imputer where the configuration names one, or else its diffusions."""
    make: Any = build_imputer if "imputer" in config else build_recovery
    return make(config, num_frames, recoverable)


def load_filling(config: Mapping[str, Any], context: Context, num_frames: int) -> Any:
    """The frozen imputer of the input ``imputer`` or the diffusions of the inputs ``network_l``, ...; None without
    either."""
    if "imputer" in context.inputs:
        imputer = build_imputer(config, num_frames, load_shape(context)["recoverable"])
        imputer.load_state_dict(load_file(context.inputs["imputer"] / IMPUTER_FILE))
        return imputer.eval().requires_grad_(False).to(context.device)
    return load_recovery(config, context, num_frames) if "network_l" in context.inputs else None

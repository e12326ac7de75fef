"""A step of a sampler waits for no value, so that a GPU never runs out of work between steps."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from pretended_gpu import GPU, pretended_gpu

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.noise import RowNoise
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.models.parts import Diffusion
from imer_ray.models.recovery import build_recovery

L, D = 8, 16
BACKBONES = [
    pytest.param(name, sharing, prior, marks=[pytest.mark.slow] if name == "imder_unet" else [])
    for name in options("diffusion/backbone")
    for sharing in ("per_modality", "shared")
    for prior in ("none", "mixture")
    if (name, sharing) != ("imder_unet", "shared") and (name, prior) != ("none", "none")
]


def waits(num_steps: int, sampler: str, guidance: float = 1.0, **chosen: str) -> Counter[str]:
    """How often the recovery of l and v, given a, of five clips waits for a GPU."""
    node = option("diffusion/backbone", chosen["backbone"])
    backbone = build({**node, "num_layers": 1} if "num_layers" in node else node)
    prior = None if chosen["prior"] == "none" else build(option("diffusion/prior", chosen["prior"]))
    sharing = chosen.get("sharing", "per_modality")
    diffusion = Diffusion(
        sde=VP(), backbone=backbone, parametrization="v", prior=prior, sharing=sharing, guidance=guidance
    )
    with pretended_gpu() as gpu:
        recovery = build_recovery(diffusion, D, L).eval().requires_grad_(False).to(GPU)
        latents, frames = torch.zeros(5, 3, L, D), torch.zeros(5, 3, L, dtype=torch.bool)
        latents[:, 1], frames[:, 1, 2:] = torch.randn(5, L, D), True
        given = latents.to(GPU), frames.to(GPU)
        only_a, solver = recovery.for_pattern((False, True, False)), build(option("diffusion/sampler", sampler))
        gpu.waits.clear()
        with torch.no_grad():
            drawn = only_a(*given, solver, num_steps, RowNoise(np.arange(5, dtype=np.uint64)))
        found = Counter(gpu.waits)
        assert drawn.device == GPU and bool(drawn.isfinite().all())
    return found


@pytest.mark.parametrize("name", options("diffusion/sampler"))
def test_a_step_of_every_sampler_waits_for_nothing(name: str) -> None:
    few, many = (waits(n, name, guidance=2.0, backbone="mixer", prior="none") for n in (2, 4))
    assert few == many


@pytest.mark.parametrize(("name", "sharing", "prior"), BACKBONES)
def test_a_step_with_every_backbone_waits_for_nothing(name: str, sharing: str, prior: str) -> None:
    few, many = (waits(n, "ddim", backbone=name, sharing=sharing, prior=prior) for n in (1, 2))
    assert few == many

"""Configurations that compute the same, told to be one."""

from __future__ import annotations

from dataclasses import replace

from imer_ray.config.components import Component, targets
from imer_ray.config.experiment import ExperimentConfig

SAMPLER = "diffusion/sampler"
DENOISE_ONCE = frozenset({"ddim", "dpmpp_2m", "dpmpp_2s", "dpmpp_3m", "dpmpp_sde", "unipc"})
"""Samplers whose single step is E[x_0 | x_T] to the last bit, whatever their settings: of a grid of one step there is
only the last, which lands on that estimate (`imer_ray.diffusion.samplers`)."""
DDIM = {"name": "ddim", "eta": 0.0, "spacing": "angle"}  # as by default: to ask its class would import torch


def settled(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with one sampler, ddim, in the place of all that do the same in one step."""
    diffusion, bank = config.diffusion, config.bank
    return replace(
        config,
        diffusion=replace(diffusion, sampler=_settled(diffusion.sampler, diffusion.num_steps)),
        bank=replace(bank, sampler=_settled(bank.sampler, bank.num_steps)),
    )


def _settled(sampler: Component, num_steps: int) -> Component:
    ours = targets(SAMPLER)
    if num_steps > 1 or sampler.name not in DENOISE_ONCE or sampler.target != ours[sampler.name]:
        return sampler  # a plugin's may have the name of one of ours
    return Component.of({**DDIM, "_target_": ours["ddim"]})

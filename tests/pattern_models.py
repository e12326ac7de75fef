"""Small models that were never trained but are real, and clips for them."""

from __future__ import annotations

from typing import Any

import torch
from experiments import experiment, of_model

from imer_ray.config.components import Component, option
from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import build_filling
from imer_ray.training.loop import seeded

DIMS, NUM_FRAMES = {"l": 5, "a": 3, "v": 4}, 6
SMALL = ("diffusion.backbone.num_layers=1", "refiner.num_blocks=1", "encoder.latent_dim=8")


def model_of(
    *overrides: str, imputer: str | None = None, recoverable: Any = MODALITIES, num_frames: int = NUM_FRAMES
) -> tuple[EmotionModel, Any]:
    """A model, and the sampler of its configuration."""
    config = experiment(*SMALL, *overrides)
    chosen = None if imputer is None else Component.of(option("imputer", imputer))
    parts = Parts.of(of_model(config, chosen))
    torch.manual_seed(1)
    latent_dim = parts.encoder.latent_dim
    model = EmotionModel(
        build_encoder(parts.encoder, DIMS, dict.fromkeys(DIMS, num_frames)),
        build_filling(parts, parts.encoder.length(num_frames), recoverable),
        build_recogniser(latent_dim, parts.fusion, parts.refiner, recoverable=recoverable),
    )
    fitted = [] if imputer is None else [*model.recovery.parameters(), *model.recovery.buffers()]  # may hold anything
    for tensor in (*fitted, *model.parameters()):
        if tensor.is_floating_point() and (any(tensor is t for t in fitted) or not bool(tensor.any())):
            torch.nn.init.normal_(tensor, std=0.1)
    return model.eval().requires_grad_(False), config.diffusion.sampler.build()


def clips(size: int, num_frames: int = NUM_FRAMES) -> Batch:
    """Of which the second half ends after four frames."""
    g = seeded(size, "clips")
    frames = torch.ones(size, num_frames, dtype=torch.bool)
    frames[size // 2 :, 4:] = False
    return Batch(
        features={m: torch.randn(size, num_frames, d, generator=g) * frames[..., None] for m, d in DIMS.items()},
        frames=dict.fromkeys(DIMS, frames),
        recorded=torch.ones(size, 3, dtype=torch.bool),
        labels=torch.zeros(size),
        index=torch.arange(size),
    )

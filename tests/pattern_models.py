"""Small models that were never trained but are real, and clips for them."""

from __future__ import annotations

from typing import Any

import torch
from experiments import experiment, of_model

from imer_ray.config.components import Component, option
from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.models.gaussian_mixture import Mixture
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.models.prior_network import PriorNetwork
from imer_ray.models.priors import Prior
from imer_ray.models.recovery import Recovery, build_filling
from imer_ray.training.seeding import seeded

DIMS, NUM_FRAMES = {"l": 5, "a": 3, "v": 4}, 6
SMALL = ("diffusion.backbone.num_layers=1", "refiner.num_blocks=1", "encoder.latent_dim=8")


def model_of(
    *overrides: str, imputer: str | None = None, recoverable: Any = MODALITIES, num_frames: int = NUM_FRAMES
) -> tuple[EmotionModel, Any]:
    """A model, and the sampler of its configuration."""
    nothing = tuple(word.removesuffix("none") for word in overrides if word.endswith("=none"))
    small = (word for word in SMALL if not word.startswith(tuple(one.replace("=", ".") for one in nothing)))
    config = experiment(*small, *overrides)
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
    for network in model.recovery.networks if isinstance(model.recovery, Recovery) else ():
        if isinstance(network, PriorNetwork):
            set_at_random(network.prior)
    return model.eval().requires_grad_(False), config.diffusion.sampler.build()


@torch.no_grad()
def set_at_random(prior: Prior) -> None:
    """Let a prior say what a random mixture says, in which modalities tell of each other."""
    g, (M, P, R), K = seeded(0, "prior"), prior.basis.shape, prior.num_components
    prior.basis.copy_(torch.linalg.qr(torch.randn(M, P, R, generator=g)).Q)
    prior.centre.copy_(0.1 * torch.randn(M, P, generator=g))
    prior.rest_variance.fill_(0.3)
    roots = torch.randn(K, M * R, M * R, generator=g, dtype=torch.float64)
    covariances = roots @ roots.mT / (M * R) + 0.1 * torch.eye(M * R, dtype=torch.float64)
    weights, means = (torch.rand(*size, generator=g, dtype=torch.float64) for size in ((K,), (K, M * R)))
    prior.set_joint(Mixture(weights / weights.sum(), means, covariances), torch.ones(M * R, dtype=torch.bool))


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

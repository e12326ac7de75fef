"""Recovery of missing modalities by their conditional diffusions.

Shapes: B clips, M = 3 modalities (l, a, v), L frames, D latent features, as in `imer_ray.models.imer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from imer_ray.config import build
from imer_ray.data.missing import MODALITIES
from imer_ray.diffusion.denoiser import Denoiser


class Sampler(Protocol):
    """What `imer_ray.diffusion.samplers` offers."""

    def sample(self, denoiser: Denoiser, sde: Any, x_T: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
        """Solve the reverse process from x_T [B, L, D] in ``num_steps`` steps."""
        ...


class Recovery(nn.Module):
    """Draw missing modalities from their conditional diffusions, given the available ones."""

    def __init__(self, networks: nn.ModuleList, sde: Any, parametrization: str) -> None:
        super().__init__()
        self.networks, self.sde, self.parametrization = networks, sde, parametrization

    def denoiser(self, m: int, latents: Tensor, available: Tensor, frames: Tensor) -> Denoiser:
        """Modality m's denoiser given the condition; what the network can compute of it in advance is computed here."""
        network: Any = self.networks[m]
        cache = network.condition(latents, available, frames)
        return Denoiser(lambda x, t: network(x, t, cache), self.sde, self.parametrization, network.scale_input)

    @torch.no_grad()
    def forward(
        self,
        latents: Tensor,
        available: Tensor,
        frames: Tensor,
        sampler: Sampler,
        num_steps: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, int]:
        """Fill what is not available; return the latents and the network evaluations that one modality took."""
        filled = latents * available[..., None, None]
        known = available.any(1)
        num_evaluations = 0
        for m in range(len(MODALITIES)):
            rows = (known & ~available[:, m]).nonzero().squeeze(1)
            if not len(rows):
                continue
            x_T = torch.randn(len(rows), *latents.shape[2:], generator=generator, device=latents.device)
            x_T = x_T * self.sde.prior_std
            denoiser = self.denoiser(m, latents[rows], available[rows], frames[rows])
            filled[rows, m] = sampler.sample(denoiser, self.sde, x_T, num_steps, generator).to(filled.dtype)
            num_evaluations = denoiser.num_evaluations
        return filled, num_evaluations


def build_network(config: Mapping[str, Any], num_frames: int, m: int) -> nn.Module:
    """The conditional score network of modality number m."""
    return build(config["diffusion"]["backbone"]).build(config["encoder"]["latent_dim"], num_frames, m)


def build_recovery(config: Mapping[str, Any], num_frames: int) -> Recovery:
    """All three modalities' diffusions of a configuration."""
    networks = nn.ModuleList(build_network(config, num_frames, m) for m in range(len(MODALITIES)))
    return Recovery(networks, build(config["diffusion"]["sde"]), config["diffusion"]["parametrization"])

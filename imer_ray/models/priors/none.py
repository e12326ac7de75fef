"""No prior: the network is asked alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imer_ray.models.priors import Clips, Prior


@dataclass(frozen=True)
class NoPrior:
    """Diffusion without a prior."""

    def build(self, latent_dim: int, num_frames: int) -> None:
        return None

    def fit(self, prior: Prior, clips: Clips, generator: torch.Generator) -> dict[str, float]:
        """There is nothing to fit."""
        return {}

"""Recovery by the training mean of each frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES, modality_mask
from imer_ray.models.imputers import fill


@dataclass(frozen=True)
class Mean:
    """mu_{m,t} = mean of x_{m,t} over the training clips that have frame t of modality m; 0 where none has.

    Zeros in standardised latents are the mean over clips *and* frames, one vector for every frame; what differs here is
    that a frame is filled with the mean of its own position, so that courses that all clips share are kept.
    """

    def build(self, latent_dim: int, num_frames: int, recoverable: Iterable[str] = MODALITIES) -> MeanImputer:
        return MeanImputer(latent_dim, num_frames, recoverable)


class MeanImputer(nn.Module):
    """Whatever is available, a missing modality is its mean [M, L, D]."""

    mean: Tensor
    recoverable: Tensor

    def __init__(self, latent_dim: int, num_frames: int, recoverable: Iterable[str]) -> None:
        super().__init__()
        self.register_buffer("recoverable", modality_mask(recoverable), persistent=False)
        self.register_buffer("mean", torch.zeros(len(MODALITIES), num_frames, latent_dim))

    def fit(self, latents: Tensor, recorded: Tensor, frames: Tensor) -> dict[str, float]:
        """Set the means from training clips: latents [N, M, L, D], recorded [N, M], frames [N, M, L]."""
        weight = (frames & recorded[..., None])[..., None].to(torch.float64)
        self.mean.copy_((latents * weight).sum(0) / weight.sum(0).clamp(min=1))
        return {}

    def forward(
        self, latents: Tensor, available: Tensor, frames: Tensor, sampler: Any, num_steps: int, generator: Any
    ) -> tuple[Tensor, int]:
        """Fill what is not available; neither sampler nor generator is used."""
        return fill(latents, available, frames, self.mean.expand_as(latents), self.recoverable), 0

"""Recovery by a cascade of residual autoencoders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES, modality_mask
from imer_ray.models.imputers import fill


@dataclass(frozen=True)
class CascadeAutoencoder:
    """z_k = phi_k(x + sum_{j<k} z_j, available); the estimate is x + sum_k z_k, with x the zero-filled clip as a
    vector.

    Tran, Liu, Zhou and Jin, Missing Modalities Imputation via Cascaded Residual Autoencoder, CVPR 2017; as
    the imagination module of Zhao, Li and Jin, Missing Modality Imagination Network for Emotion Recognition with
    Uncertain Missing Modalities, ACL 2021. Their second cascade, from the imagined modalities back to the available
    ones, is left out: it regularises a joint representation that is not used here. Five blocks with the widths
    (256, 128, 64) have four times the weights and recover synthetic clips as well (mean squared error over the six
    patterns 0.65 both; ridge regression 0.75, the mean 0.99).

    Attributes:
        num_blocks: autoencoders phi_k in the cascade.
        widths: of the layers of an encoder; the decoder mirrors them.
    """

    num_blocks: int = 3
    widths: tuple[int, ...] = (128, 64)

    def __post_init__(self) -> None:
        if self.num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, not {self.num_blocks}")
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be positive whole numbers, not {list(self.widths)}")

    def build(self, latent_dim: int, num_frames: int, recoverable: Iterable[str] = MODALITIES) -> CascadeImputer:
        return CascadeImputer(self, latent_dim, num_frames, recoverable)


class CascadeImputer(nn.Module):
    """One network for all patterns: it reads the available latents, zeros for the others, and which are available."""

    recoverable: Tensor

    def __init__(
        self, settings: CascadeAutoencoder, latent_dim: int, num_frames: int, recoverable: Iterable[str]
    ) -> None:
        super().__init__()
        self.register_buffer("recoverable", modality_mask(recoverable), persistent=False)
        size = len(MODALITIES) * num_frames * latent_dim
        self.blocks = nn.ModuleList(_block(size, settings.widths) for _ in range(settings.num_blocks))

    def estimate(self, latents: Tensor, available: Tensor, frames: Tensor) -> Tensor:
        """All modalities [B, M, L, D] from the available ones."""
        readable = (frames & available[..., None])[..., None]
        x, told = (latents * readable).flatten(1), available.to(latents.dtype)
        for block in self.blocks:
            x = x + block(torch.cat([x, told], dim=1))
        return x.view_as(latents)

    def forward(
        self, latents: Tensor, available: Tensor, frames: Tensor, sampler: Any, num_steps: int, generator: Any
    ) -> tuple[Tensor, int]:
        """Fill what is not available; neither sampler nor generator is used."""
        estimates = self.estimate(latents, available & self.recoverable, frames)
        return fill(latents, available, frames, estimates, self.recoverable), 0


def _block(size: int, widths: tuple[int, ...]) -> nn.Sequential:
    """An autoencoder of vectors [B, size] and the availability [B, M] that starts by giving zeros: it adds to its
    input."""
    inner = [*widths, *widths[-2::-1]]
    layers: list[nn.Module] = []
    for before, after in pairwise([size + len(MODALITIES), *inner]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    last = nn.Linear(inner[-1], size)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)

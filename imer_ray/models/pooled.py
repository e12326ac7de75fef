"""A small fusion: each modality is read at the last frame and pooled over time by attention, the head does the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES
from imer_ray.models.activations import check_activation
from imer_ray.models.attention import sinusoidal_positions
from imer_ray.models.dropout import Dropout
from imer_ray.models.fusion import Head, last_frame


@dataclass(frozen=True)
class Pooled:
    """Pooling by multi-head attention with learned queries, one set per modality.

    Head h of modality m reads $\\sum_l softmax_l(q_{mh} x_{ml} / \\sqrt{D} + u_{mh} p_{L-l}) x_{ml}$ with sinusoidal
    positions p counted back from the last frame, so that windows of any length share the weights. The last frame that
    any modality has, where MulT is read too, stands beside the heads: attention that starts out even over the frames is
    slow to find it. All readings go through one linear map per modality, and a residual layer mixes the modalities. A
    fraction of MulT's time and parameters: no frame attends to a frame.

    References:
        Lee et al., 2019, Set Transformer, arXiv:1810.00825, section 3.2 (pooling by multihead attention).
    """

    num_heads: int = 4
    out_dropout: float = 0.1  # of the features read, of the layer that mixes them, and in the head
    activation: str = "relu"  # of the head, see `imer_ray.models.activations`

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"num_heads must be at least 1, not {self.num_heads}")
        if not 0 <= self.out_dropout < 1:
            raise ValueError(f"out_dropout must be in [0, 1), not {self.out_dropout}")
        check_activation(self.activation)

    def build(self, latent_dim: int) -> PooledFrames:
        return PooledFrames(self, latent_dim)

    def build_head(self, latent_dim: int) -> Head:
        return Head(2 * len(MODALITIES) * latent_dim, self.out_dropout, self.activation)


class PooledFrames(nn.Module):
    """Latents [B, M, L, D] and frames [B, M, L] to features [B, 2 M D]; a modality without any frame reads as zero."""

    def __init__(self, settings: Pooled, latent_dim: int) -> None:
        super().__init__()
        M, H, D = len(MODALITIES), settings.num_heads, latent_dim
        self.query = nn.Parameter(torch.zeros(M, H, D))
        self.place = nn.Parameter(torch.randn(M, H, D) / math.sqrt(D))
        self.weight = nn.Parameter(torch.randn(M, (H + 1) * D, 2 * D) / math.sqrt((H + 1) * D))
        self.mix = nn.Sequential(
            nn.LayerNorm(2 * M * D),
            nn.Linear(2 * M * D, 2 * M * D),
            nn.GELU(),
            Dropout(settings.out_dropout),
            nn.Linear(2 * M * D, 2 * M * D),
        )
        self.dropout = Dropout(settings.out_dropout)

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        B, M, L, D = latents.shape
        positions = sinusoidal_positions(L, D, latents.device, latents.dtype).flip(0)
        score = latents @ self.query.mT / math.sqrt(D) + (positions @ self.place.mT)
        score = score.masked_fill(~frames[..., None], -1e4)  # finite, so that no frame at all gives no NaN
        weight = score.softmax(2) * frames[..., None]
        # The readout is one more head, whose weight is all on one frame: a product is faster than picking rows.
        is_last = last_frame(frames)[:, None, None] == torch.arange(L, device=frames.device)
        weight = torch.cat([weight, (is_last & frames)[..., None].to(weight.dtype)], 3)
        read = (weight.mT @ latents).flatten(2)
        features = (read.transpose(0, 1) @ self.weight).transpose(0, 1).flatten(1)
        return self.dropout(features + self.mix(features))

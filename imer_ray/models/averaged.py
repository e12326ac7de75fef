"""The smallest fusion: each modality is averaged over its frames, the head does the rest."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES
from imer_ray.models.activations import check_activation
from imer_ray.models.fusion import Head


@dataclass(frozen=True)
class Averaged:
    """The modalities' means over time, side by side: the order of frames is lost, and none weighs more than another.

    It has no weights of its own and takes a third of the time of `imer_ray.models.pooled.Pooled`.

    References:
        Iyyer et al., 2015, Deep Unordered Composition Rivals Syntactic Methods for Text Classification, ACL 2015,
        section 3 (averages, then a feed-forward network).
    """

    out_dropout: float = 0.1  # in the head
    activation: str = "gelu"  # of the head, see `imer_ray.models.activations`

    def __post_init__(self) -> None:
        if not 0 <= self.out_dropout < 1:
            raise ValueError(f"out_dropout must be in [0, 1), not {self.out_dropout}")
        check_activation(self.activation)

    def build(self, latent_dim: int) -> AveragedFrames:
        return AveragedFrames()

    def build_head(self, latent_dim: int) -> Head:
        return Head(len(MODALITIES) * latent_dim, self.out_dropout, self.activation)


class AveragedFrames(nn.Module):
    """Latents [B, M, L, D] and frames [B, M, L] to features [B, M D]; a modality without any frame reads as zero."""

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        weight = frames.to(latents.dtype)
        total = (weight[:, :, None] @ latents).squeeze(2)  # a product is faster than masking and summing
        return (total / weight.sum(2, keepdim=True).clamp(min=1)).flatten(1)

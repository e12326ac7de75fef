"""No network: a recovery by its prior alone (`imer_ray.models.prior_network`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from imer_ray.data.missing import Available


@dataclass(frozen=True)
class NoNetwork:
    """What adds nothing to a prior; without one nothing is recovered at all."""

    shareable: ClassVar[bool] = True
    min_frames: ClassVar[int] = 1

    def build(self, latent_dim: int, num_frames: int, target: int | None) -> ZeroNetwork:
        return ZeroNetwork()


class ZeroNetwork(nn.Module):
    """F(x_t, t) = 0."""

    scale_input = False
    starts_at_zero = True

    def condition(
        self,
        latents: Tensor,
        available: Available,
        frames: Tensor,
        targets: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> None:
        return None

    def forward(self, x: Tensor, t: Tensor, cache: None) -> Tensor:
        return torch.zeros_like(x)

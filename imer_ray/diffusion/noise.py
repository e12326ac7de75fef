"""Standard normal noise from an explicit generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imer_ray.diffusion.sde import SDE


def standard_normal(
    shape: Sequence[int], generator: torch.Generator, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Noise of N(0, I), drawn where the generator lives and brought to ``device``."""
    return torch.randn(*shape, generator=generator, device=generator.device, dtype=dtype).to(device)


def initial_noise(sde: SDE, shape: Sequence[int], generator: torch.Generator, device: torch.device | str) -> Tensor:
    """x_T [B, L, D] of N(0, prior_std^2 I), from which sampling starts."""
    return standard_normal(shape, generator, device) * sde.prior_std

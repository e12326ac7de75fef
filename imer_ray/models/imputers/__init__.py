"""Rivals of diffusion: deterministic recovery of missing modalities, one file each.

A component builds a module that is called like `imer_ray.models.recovery.Recovery` and takes no network evaluations.
Shapes: B clips, M = 3 modalities (l, a, v), L frames, D latent features, as in `imer_ray.models.imer`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fill(latents: Tensor, available: Tensor, estimates: Tensor) -> Tensor:
    """Latents [B, M, L, D] with ``estimates`` [B, M, L, D] where a modality is not ``available`` [B, M].

    A clip with nothing available stays zero throughout: there is nothing to recover it from.
    """
    missing = ~available & available.any(1, keepdim=True)
    known = latents * available[..., None, None]
    return torch.where(missing[..., None, None], estimates.to(known.dtype), known)

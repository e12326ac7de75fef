"""Rivals of diffusion: deterministic recovery of missing modalities, one file each.

A component builds a module for the modalities that are ``recoverable``; it is called like
`imer_ray.models.recovery.Recovery` and takes no network evaluations.
Shapes: B clips, M = 3 modalities (l, a, v), L frames, D latent features, as in `imer_ray.models.model`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imer_ray.data.missing import fillable


def fill(latents: Tensor, available: Tensor, frames: Tensor, estimates: Tensor, recoverable: Tensor) -> Tensor:
    """Latents [B, M, L, D] with ``estimates`` [B, M, L, D] where a modality is not ``available`` [B, M] but
    ``recoverable`` [M].

    What is filled has the ``frames`` [B, M, L] that any available modality of the clip has, and zeros elsewhere; a clip
    with nothing available stays zero.
    """
    own = (frames & available[..., None]).any(1)
    missing = fillable(available, recoverable)[..., None] & own[:, None]
    return torch.where(missing[..., None], estimates.to(latents.dtype), latents * available[..., None, None])

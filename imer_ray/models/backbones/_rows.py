"""What every backbone reads of a batch of clips, row by row."""

from __future__ import annotations

from torch import Tensor

from imer_ray.data.missing import MODALITIES


def sources_of(target: int) -> list[int]:
    """The modalities that condition the target's diffusion: all others."""
    return [m for m in range(len(MODALITIES)) if m != target]


def readable(latents: Tensor, available: Tensor, frames: Tensor, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """The other modalities' latents, zero where absent, and which frames may be read.

    Args:
        latents, available, frames: [B, M, L, D], [B, M], [B, M, L].

    Returns:
        source latents [B, 2, L, D]; their present frames [B, 2, L]; the clip's own frames [B, L]: those that any
        available source has, or all if nothing is available (the target's own are unknown when it is missing).
    """
    sources = sources_of(target)
    present = frames[:, sources] & available[:, sources, None]
    own = present.any(1)
    own = own | ~own.any(1, keepdim=True)
    return latents[:, sources].masked_fill(~present[..., None], 0.0), present, own

"""What every backbone reads of a batch of clips, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES, Available
from imer_ray.devices import may_ask


def sources_of(target: int | None) -> list[int]:
    """The modalities that condition the target's diffusion: all others; all where rows have targets of their own."""
    return [m for m in range(len(MODALITIES)) if m != target]


def sources_read(target: int | None, available: Available) -> list[int]:
    """Which sources, by their places in `sources_of`, some row may read as far as is known before any row is."""
    return [i for i, m in enumerate(sources_of(target)) if isinstance(available, Tensor) or available[m]]


def picked(x: Tensor, places: Sequence[int]) -> Tensor:
    """x [B, S, ...] at some places [B, S', ...], which are in order."""
    if len(places) == x.shape[1]:
        return x
    if torch.compiler.is_exporting():  # one operation of a graph
        return x.index_select(1, torch.tensor(places, device=x.device))
    return torch.stack([x[:, place] for place in places], 1)  # a list of places would be sent to a GPU first


def readable(
    latents: Tensor,
    available: Available,
    frames: Tensor,
    target: int | None,
    targets: Tensor | None = None,
    dropped: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The other modalities' latents, zero where absent, and which frames may be read.

    Args:
        latents, available, frames: [B, M, L, D], [B, M] or [M] booleans, [B, M, L].
        target: the network's; None: shared, then ``targets`` [B] has each row's.
        dropped: [B], True where a row sees nothing but which frames it has.

    Returns:
        source latents [B, S, L, D], S = 2, or 3 if shared; their present frames [B, S, L]; the clip's own frames
        [B, L]: those that any available source has, or all if nothing is available (the target's own are unknown when
        it is missing).
    """
    sources = sources_of(target)
    present = picked(frames, sources)
    if isinstance(available, Tensor):
        present = present & picked(available, sources)[..., None]
    elif not all(available[m] for m in sources):
        present = present & torch.tensor([[available[m]] for m in sources], device=present.device)
    if target is None:
        if targets is None:
            raise ValueError("a shared network must be told which modality each row recovers")
        present = present & (targets[:, None] != torch.arange(len(sources), device=targets.device))[..., None]
    own = present.any(1)
    own = own | ~own.any(1, keepdim=True)
    if dropped is not None:
        present = present & ~dropped[:, None, None]
    return picked(latents, sources).masked_fill(~present[..., None], 0.0), present, own


def subset_number(present: Tensor) -> Tensor:
    """[B]: which sources are there at all, as a binary number, of present frames [B, S, L]."""
    bits = 2 ** torch.arange(present.shape[1], device=present.device)
    return (present.any(2) * bits).sum(1)


def without_unread(tokens: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [B, S, W] and read [B, S] without those that no row reads, such as a modality missing everywhere."""
    if torch.compiler.is_exporting() or not may_ask(read):  # a graph has one shape for all clips
        return tokens, read
    somewhere = read.any(0)
    if bool(somewhere.all()):
        return tokens, read
    columns = somewhere.nonzero().squeeze(1)
    return tokens[:, columns], read[:, columns]


def attention_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor | None:
    """[B, 1, 1, S], 0 where allowed [B, S] and else -inf, added to attention scores; None if everything is allowed, as
    far as may be asked."""
    if not torch.compiler.is_exporting() and may_ask(allowed) and bool(allowed.all()):
        return None
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, -torch.inf)[:, None, None]


def target_marks(target: int | None, width: int) -> nn.Parameter | None:
    """[M, width], learned: tells a shared network what to recover, as a class label; None where the target is known."""
    return nn.Parameter(torch.randn(len(MODALITIES), width) * 0.02) if target is None else None


def marked(time: Tensor, mark: Tensor | None) -> Tensor:
    """The embedded time [B, W] with the rows' target marks [B, W], if there are any."""
    return time if mark is None else time + mark

"""Parts of the backbones with attention. Legend: B rows, L tokens, W width, H heads of d = W / H."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imer_ray.models.backbones._rows import picked, without_unread
from imer_ray.models.dropout import Dropout

NUM_MODULATIONS = 6  # of a layer: shift, scale and gate, twice
NUM_TIME_FEATURES = 64
MAX_RATE = 1000.0  # of the time features, in radians per unit of t


def check_widths(width: int, num_layers: int, num_heads: int, mlp_ratio: int, dropout: float) -> None:
    """Refuse settings that no network can have.

    Raises:
        ValueError: naming the setting.
    """
    given = {"width": width, "num_layers": num_layers, "num_heads": num_heads, "mlp_ratio": mlp_ratio}
    for name, value in given.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if width % num_heads or width % 2:
        raise ValueError(f"width {width} must be even and a multiple of num_heads {num_heads}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), not {dropout}")


def time_rates() -> Tensor:
    """[NUM_TIME_FEATURES / 2] angular frequencies, 1 to MAX_RATE in equal ratios."""
    return torch.logspace(0, math.log10(MAX_RATE), NUM_TIME_FEATURES // 2)


def time_features(t: Tensor, rates: Tensor) -> Tensor:
    """sin and cos of w t, [B, NUM_TIME_FEATURES], of the times t [B]."""
    angles = t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


KeysValues = tuple[Tensor, Tensor]
"""Keys and values [B, S, W] that a layer reads of a memory."""


class Layer(nn.Module):
    """Pre-norm attention and feed-forward, both modulated by time."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int, dropout: float = 0.0) -> None:
        super().__init__()
        W = width
        self.num_heads, self.dropout = num_heads, Dropout(dropout)
        self.qkv = nn.Linear(W, 3 * W)
        self.attended = nn.Linear(W, W)
        self.expand = nn.Linear(W, mlp_ratio * W)
        self.contract = nn.Linear(mlp_ratio * W, W)

    def forward(
        self, h: Tensor, modulation: Sequence[Tensor], memory: KeysValues | None, mask: Tensor | None
    ) -> Tensor:
        """h [B, L, W], six modulations [B, 1, W], memory of S tokens, mask [B, 1, 1, L + S].

        With a memory the tokens attend to themselves and to its keys and values, in one softmax.
        """
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation
        q, k, v = self.qkv(modulated(h, shift, scale)).chunk(3, dim=2)
        if memory is not None:
            k, v = torch.cat([k, memory[0]], dim=1), torch.cat([v, memory[1]], dim=1)
        if mask is not None:
            mask = mask.expand(-1, -1, h.shape[1], -1)  # ONNX's attention takes one for every query
        attended = F.scaled_dot_product_attention(self._heads(q), self._heads(k), self._heads(v), mask)
        h = torch.addcmul(h, gate, self.dropout(self.attended(attended.transpose(1, 2).reshape(h.shape))))
        hidden = F.silu(self.expand(modulated(h, shift_mlp, scale_mlp)))
        return torch.addcmul(h, gate_mlp, self.dropout(self.contract(hidden)))

    def _heads(self, x: Tensor) -> Tensor:
        """[B, S, W] -> [B, H, S, d]."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


def modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """shift + scale * layer_norm(h)."""
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:]), scale)


class SourceTokens(nn.Module):
    """The sources' frames as tokens: a linear map and a mark per source, and the frames' positions."""

    def __init__(self, num_sources: int, latent_dim: int, width: int) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Linear(latent_dim, width) for _ in range(num_sources))
        self.mark = nn.Parameter(torch.randn(num_sources, 1, width) * 0.02)

    def forward(self, x: Tensor, present: Tensor, position: Tensor, sources: Sequence[int]) -> tuple[Tensor, Tensor]:
        """x [B, S, L, D], present [B, S, L], position [L, W] and the S' ``sources`` that may be read to tokens
        [B, S' L, W] and which may be read [B, S' L].

        In evaluation tokens that no row reads are left out.
        """
        embedded = torch.cat([self.embed[i](x[:, i]) for i in sources], dim=1)
        mark = self.mark if len(sources) == len(self.mark) else self.mark[sources]
        tokens = embedded + (mark + position).flatten(0, 1)
        read = picked(present, sources).flatten(1)
        return (tokens, read) if self.training else without_unread(tokens, read)

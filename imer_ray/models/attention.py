"""MulT's cross-modal Transformer encoders (Tsai et al., 2019, arXiv:1906.00295, section 3.2).

Legend: G encoders of the same shape, B clips, L query frames, S memory frames, H heads, d features.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imer_ray.devices import may_ask
from imer_ray.models.dropout import Dropout


@functools.lru_cache(maxsize=64)
def sinusoidal_positions(length: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[length, width]: sin(p w_i), then cos(p w_i), w_i = 10000^(-i / (width/2 - 1)), p = 1, 2, ... as in MulT."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(10000) / max(half - 1, 1)))
    angles = torch.arange(1, length + 1, device=device)[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2)).to(dtype)


class Mask(NamedTuple):
    """Which memory frames a query may attend to.

    A softmax over nothing is undefined, so a query that may attend to nothing attends to everything instead, and
    ``alive`` sets its result to zero.
    """

    allowed: Tensor  # bool [N, 1, L, S]
    alive: Tensor  # bool [N, L, 1]


def attention_mask(frames: Tensor, num_queries: int, causal: bool) -> Mask | None:
    """The mask of ``num_queries`` query frames (S of them if ``causal``) for memory [N, S]; None if all is there, which
    is known where it may be asked."""
    if not torch.compiler.is_exporting() and may_ask(frames) and bool(frames.all()):
        return None
    allowed = frames[:, None].expand(-1, num_queries, -1)
    if causal:
        allowed = allowed.tril()
    alive = allowed.any(-1, keepdim=True)
    return Mask((allowed | ~alive)[:, None], alive)


class StackedLinear(nn.Module):
    """G linear maps at once: x [G, N, in] -> [G, N, out]."""

    def __init__(self, num_maps: int, num_in: int, num_out: int, bound: float | None = None) -> None:
        """Weights are uniform in +-``bound``, Xavier's sqrt(6 / (in + out)) unless given; biases are zero."""
        super().__init__()
        bound = math.sqrt(6 / (num_in + num_out)) if bound is None else bound
        self.weight = nn.Parameter(torch.empty(num_maps, num_in, num_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_maps, 1, num_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class StackedNorm(nn.Module):
    """Scale and shift of G layer norms: normalised x [G, N, d] -> [G, N, d]."""

    def __init__(self, num_maps: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_maps, 1, width))
        self.bias = nn.Parameter(torch.zeros(num_maps, 1, width))

    def forward(self, normalised: Tensor) -> Tensor:
        return torch.addcmul(self.bias, normalised, self.weight)


def normalise(x: Tensor) -> Tensor:
    """Layer norm without scale and shift."""
    return F.layer_norm(x, x.shape[-1:])


KeysValues = tuple[Tensor, Tensor]
"""Keys and values [N, H, S, d / H] that one layer reads from a memory."""

Drop = Callable[[Tensor], Tensor]


class Layer(nn.Module):
    """Pre-norm attention and ReLU feed-forward layer; the same norm serves queries, keys and values (as MulT)."""

    def __init__(self, num_encoders: int, width: int, num_heads: int, relu_dropout: float, res_dropout: float) -> None:
        super().__init__()
        G, d = num_encoders, width
        self.num_heads = num_heads
        self.relu_dropout, self.res_dropout = Dropout(relu_dropout, clips=1), Dropout(res_dropout, clips=1)
        bound = math.sqrt(6 / (d + 3 * d))  # Xavier over the joint map d -> 3d
        self.query, self.key_value = StackedLinear(G, d, d, bound), StackedLinear(G, d, 2 * d, bound)
        self.out = StackedLinear(G, d, d)
        self.expand, self.contract = StackedLinear(G, d, 4 * d), StackedLinear(G, 4 * d, d)
        self.attention_norm, self.feed_forward_norm = StackedNorm(G, d), StackedNorm(G, d)

    def remember(self, memory: Tensor, batch_size: int) -> KeysValues:
        """Keys and values of a memory [G, B S, d] already normalised."""
        return self._keys_values(self.attention_norm(memory), batch_size)

    def forward(
        self, x: Tensor, known: KeysValues | None, batch_size: int, mask: Mask | None, causal: bool, drop: Drop | None
    ) -> Tensor:
        """x [G, B L, d] -> the same; ``known`` is what `remember` made of the memory, None for self-attention."""
        query = self.attention_norm(normalise(x))
        k, v = self._keys_values(query, batch_size) if known is None else known
        N, (d, H) = x.shape[0] * batch_size, (x.shape[-1], self.num_heads)
        q = self.query(query).view(N, -1, H, d // H).transpose(1, 2)
        attended = attend(q, k, v, mask, causal, drop).transpose(1, 2).reshape(x.shape)
        x = x + self.res_dropout(self.out(attended))
        hidden = F.relu(self.expand(self.feed_forward_norm(normalise(x))))
        hidden = self.contract(self.relu_dropout(hidden))
        return x + self.res_dropout(hidden)

    def _keys_values(self, normed: Tensor, batch_size: int) -> KeysValues:
        N, (d, H) = len(normed) * batch_size, (normed.shape[-1], self.num_heads)
        k, v = self.key_value(normed).view(N, -1, 2, H, d // H).permute(2, 0, 3, 1, 4)
        return k, v


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, causal: bool, drop: Drop | None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for [N, H, L, d]; ``drop`` is what the weights [N, H, L, S] go through."""
    if drop is None:
        allowed = None if mask is None else mask.allowed
        out = F.scaled_dot_product_attention(q, k, v, allowed, is_causal=causal and mask is None)
    else:
        allowed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device)
        allowed = (allowed.tril() if causal else allowed) if mask is None else mask.allowed
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        weights = scores.masked_fill(~allowed, -math.inf).softmax(-1)
        out = drop(weights) @ v
    return out if mask is None else out * mask.alive[:, None]


class Encoders(nn.Module):
    """G encoders computed together: queries attend to a memory, or to themselves if there is none.

    Inputs are scaled by sqrt(d) and get sinusoidal positions; a layer norm ends the stack.

    Args:
        causal: query frame i sees memory frames 0 ... i only.
        attn_dropout: one rate, or one per encoder.
    """

    def __init__(
        self,
        num_encoders: int,
        width: int,
        num_heads: int,
        num_layers: int,
        causal: bool,
        attn_dropout: float | Sequence[float] = 0.0,
        embed_dropout: float = 0.0,
        relu_dropout: float = 0.0,
        res_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"the width {width} of an attention layer must be a multiple of its {num_heads} heads")
        self.causal, self.embed_dropout = causal, Dropout(embed_dropout, clips=1)
        rates = [attn_dropout] * num_encoders if isinstance(attn_dropout, (int, float)) else list(attn_dropout)
        self.attn_dropout = Dropout(rates, clips=1) if any(rates) else None
        self.layers = nn.ModuleList(
            Layer(num_encoders, width, num_heads, relu_dropout, res_dropout) for _ in range(num_layers)
        )
        self.norm = StackedNorm(num_encoders, width)

    def remember(self, memory: Tensor) -> list[KeysValues]:
        """What the layers read from a memory [G, B, S, d], so that it need not be computed for every query."""
        normalised = normalise(self._embed(memory)).flatten(1, 2)
        layers: Any = self.layers
        return [layer.remember(normalised, memory.shape[1]) for layer in layers]

    def forward(
        self, x: Tensor, memory: Tensor | Sequence[KeysValues] | None = None, mask: Mask | None = None
    ) -> Tensor:
        """x [G, B, L, d], memory [G, B, S, d] or what `remember` made of it, mask of N = G B rows -> [G, B, L, d]."""
        h = self._embed(x).flatten(1, 2)
        known: Sequence[KeysValues | None] = [None] * len(self.layers)
        if memory is not None:
            known = self.remember(memory) if isinstance(memory, Tensor) else memory
        drop = self._drop(x)
        for layer, keys_values in zip(self.layers, known, strict=True):
            h = layer(h, keys_values, x.shape[1], mask, self.causal, drop)
        return self.norm(normalise(h)).view(x.shape)

    def read(self, x: Tensor, last: Tensor, mask: Mask | None, last_mask: Mask | None) -> Tensor:
        """Frame ``last`` [B] of `forward`'s result for self-attention, [G, B, d]; the last layer computes only that.

        No present frame may come after ``last``; ``last_mask`` is the mask of that one query, which is not causal then.
        """
        G, B, L, d = x.shape
        h, drop = self._embed(x).flatten(1, 2), self._drop(x)
        layers: Any = self.layers
        *inner, final = layers
        for layer in inner:
            h = layer(h, None, B, mask, self.causal, drop)
        query = h.view(G, B, L, d)[:, torch.arange(B, device=x.device), last]
        return self.norm(normalise(final(query, final.remember(normalise(h), B), B, last_mask, False, drop)))

    def _embed(self, x: Tensor) -> Tensor:
        positions = sinusoidal_positions(x.shape[2], x.shape[3], x.device, x.dtype)
        return self.embed_dropout(torch.add(positions, x, alpha=math.sqrt(x.shape[3])))

    def _drop(self, x: Tensor) -> Drop | None:
        """The dropout of attention weights [N, ...], of N = G B rows, at each encoder's rate."""
        dropout, num_encoders = self.attn_dropout, x.shape[0]
        if not self.training or dropout is None:
            return None
        return lambda weights: dropout(weights.unflatten(0, (num_encoders, -1))).flatten(0, 1)

"""A plain Transformer over one sequence: the time, the frames of x_t and the condition's frames.

Unlike `imer_ray.models.backbones.dit` with ``in_context``, nothing is modulated: time is a token like the others, and
so is all that a layer learns of it. Each step costs attention over the condition again; the Transformer with
cross-attention reads it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from imer_ray.data.missing import Available
from imer_ray.models.attention import sinusoidal_positions
from imer_ray.models.backbones._blocks import (
    NUM_TIME_FEATURES,
    Layer,
    SourceTokens,
    check_widths,
    modulated,
    time_features,
    time_rates,
)
from imer_ray.models.backbones._rows import (
    attention_bias,
    marked,
    readable,
    sources_of,
    sources_read,
    target_marks,
)


@dataclass(frozen=True)
class Concat:
    """``num_layers`` pre-norm layers of ``width`` features and ``num_heads`` heads; ``mlp_ratio`` widens the
    feed-forward.

    References:
        Bao et al., 2022, All are Worth Words: A ViT Backbone for Diffusion Models, arXiv:2209.12152, section 3.1: time
        and condition as tokens; without its long skip connections.
    """

    shareable: ClassVar[bool] = True
    min_frames: ClassVar[int] = 1
    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    mlp_ratio: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_widths(self.width, self.num_layers, self.num_heads, self.mlp_ratio, self.dropout)

    def build(self, latent_dim: int, num_frames: int, target: int | None) -> ConcatNetwork:
        return ConcatNetwork(self, latent_dim, num_frames, target)


class Condition(NamedTuple):
    tokens: Tensor  # [B, S, W]
    mask: Tensor | None  # [B, 1, 1, 1 + L + S], 0 or -inf; None: everything is read
    mark: Tensor | None  # [B, W], of each row's target, where the network is shared


class ConcatNetwork(nn.Module):
    """F(x_t, t) = out(h) + s(t) x_t, both terms 0 at first (as in the Transformer)."""

    scale_input = True
    starts_at_zero = True
    time_rates: Tensor

    def __init__(self, settings: Concat, latent_dim: int, num_frames: int, target: int | None) -> None:
        super().__init__()
        W = settings.width
        self.target = target
        position = sinusoidal_positions(num_frames, W, torch.get_default_device(), torch.get_default_dtype())
        self.position = nn.Parameter(position.clone())
        self.frame_in = nn.Linear(latent_dim, W)
        self.sources = SourceTokens(len(sources_of(target)), latent_dim, W)
        self.layers = nn.ModuleList(
            Layer(W, settings.num_heads, settings.mlp_ratio, settings.dropout) for _ in range(settings.num_layers)
        )
        # Shift, scale and gate of each layer's two parts: what adaptive norms make of the time is learned once here.
        norms = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 1.0])[:, None].repeat(settings.num_layers, 1, W)
        self.norms = nn.Parameter(norms.view(settings.num_layers, 6, W))
        self.last_norm = nn.Parameter(torch.stack([torch.zeros(W), torch.ones(W)]))
        self.register_buffer("time_rates", time_rates(), persistent=False)
        self.time = nn.Sequential(nn.Linear(NUM_TIME_FEATURES, W), nn.SiLU())
        self.skip = nn.Linear(W, latent_dim)
        self.out = nn.Linear(W, latent_dim)
        self.target_marks = target_marks(target, W)
        for last in (self.skip, self.out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def condition(
        self,
        latents: Tensor,
        available: Available,
        frames: Tensor,
        targets: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> Condition:
        """The condition's tokens, and which tokens of the sequence each row may attend to."""
        x, present, own = readable(latents, available, frames, self.target, targets, dropped)
        tokens, read = self.sources(x, present, self.position, sources_read(self.target, available))
        allowed = torch.cat([own.new_ones(x.shape[0], 1), own, read], dim=1)
        mark = None if self.target_marks is None else self.target_marks[targets]
        return Condition(tokens, attention_bias(allowed, x.dtype), mark)

    def forward(self, x: Tensor, t: Tensor, cache: Condition) -> Tensor:
        """x [B, L, D] and t [B] to the network's output [B, L, D]."""
        time = marked(self.time(time_features(t, self.time_rates)), cache.mark)
        first = time[:, None].expand(x.shape[0], 1, -1)
        h = torch.cat([first, self.frame_in(x) + self.position, cache.tokens], dim=1)
        for layer, norms in zip(self.layers, self.norms, strict=True):
            h = layer(h, norms.unbind(0), None, cache.mask)
        h = modulated(h[:, 1 : 1 + x.shape[1]], *self.last_norm.unbind(0))
        return torch.addcmul(self.out(h), self.skip(time)[:, None], x)

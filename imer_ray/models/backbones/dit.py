"""A diffusion Transformer: self-attention over frames, everything else told through adaptive layer norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imer_ray.data.missing import Available
from imer_ray.models.attention import sinusoidal_positions
from imer_ray.models.backbones._blocks import (
    NUM_MODULATIONS,
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
    readable,
    sources_of,
    sources_read,
    subset_number,
    target_marks,
)

CONDITIONINGS = ("pooled", "in_context")


@dataclass(frozen=True)
class Dit:
    r"""adaLN-zero blocks over the frames of x_t.

    $$ h \leftarrow h + \gamma_1 \operatorname{Attn}(\beta_1 + \kappa_1 \operatorname{LN}(h)), \quad
       h \leftarrow h + \gamma_2 \operatorname{MLP}(\beta_2 + \kappa_2 \operatorname{LN}(h)) $$

    with (beta, kappa, gamma) a linear map of silu(c), gamma = 0 and kappa = 1 at first, so that each block begins as
    the identity. c is the embedded time, plus the target's mark in a shared network, plus with ``pooled`` the embedded
    time means of the available modalities. The feed-forward has SiLU where the paper has GELU, and one factor per
    feature lets x_t through to the output, as in `imer_ray.models.backbones.transformer`.

    References:
        Peebles and Xie, 2023, Scalable Diffusion Models with Transformers, arXiv:2212.09748, section 3.2 and figure 3.
        Pooled conditioning as in RoHyDR, which has width 64, 6 layers and 16 heads.

    Attributes:
        conditioning: ``pooled``: the condition's masked time means join c; ``in_context``: its frames are tokens of the
            same sequence, and time alone modulates.
    """

    shareable: ClassVar[bool] = True
    min_frames: ClassVar[int] = 1
    conditioning: str = "pooled"
    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    mlp_ratio: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_widths(self.width, self.num_layers, self.num_heads, self.mlp_ratio, self.dropout)
        if self.conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning must be one of {', '.join(CONDITIONINGS)}, not {self.conditioning}")

    def build(self, latent_dim: int, num_frames: int, target: int | None) -> DitNetwork:
        return DitNetwork(self, latent_dim, num_frames, target)


class Condition(NamedTuple):
    told: Tensor | None  # [B, W], added to the embedded time
    tokens: Tensor | None  # [B, S, W], of the condition's frames
    mask: Tensor | None  # [B, 1, 1, L + S], 0 or -inf; None: everything is read


class Pooled(nn.Module):
    """The available modalities' time means, side by side and zero where absent, embedded; and which there are."""

    def __init__(self, num_sources: int, latent_dim: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(num_sources * latent_dim, width, bias=False)
        self.subset = nn.Parameter(torch.randn(2**num_sources, width) * 0.02)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """x [B, S, L, D], zero where not present [B, S, L], to [B, W]."""
        means = x.sum(2) / present.sum(2, keepdim=True).clamp(min=1)
        return self.embed(means.flatten(1)) + self.subset[subset_number(present)]


class DitNetwork(nn.Module):
    """F(x_t, t) = out(h) + s(t) x_t, both terms 0 at first."""

    scale_input = True
    starts_at_zero = True
    time_rates: Tensor

    def __init__(self, settings: Dit, latent_dim: int, num_frames: int, target: int | None) -> None:
        super().__init__()
        W, num_sources = settings.width, len(sources_of(target))
        self.width, self.target = W, target
        position = sinusoidal_positions(num_frames, W, torch.get_default_device(), torch.get_default_dtype())
        self.position = nn.Parameter(position.clone())
        self.frame_in = nn.Linear(latent_dim, W)
        pools = settings.conditioning == "pooled"
        self.pooled = Pooled(num_sources, latent_dim, W) if pools else None
        self.sources = None if pools else SourceTokens(num_sources, latent_dim, W)
        self.layers = nn.ModuleList(
            Layer(W, settings.num_heads, settings.mlp_ratio, settings.dropout) for _ in range(settings.num_layers)
        )
        self.register_buffer("time_rates", time_rates(), persistent=False)
        self.time = nn.Sequential(nn.Linear(NUM_TIME_FEATURES, W), nn.SiLU(), nn.Linear(W, W))
        num_modulations = NUM_MODULATIONS * settings.num_layers + 2  # shift and scale at the end
        self.modulation = nn.Linear(W, num_modulations * W)
        self.skip = nn.Linear(W, latent_dim)
        self.out = nn.Linear(W, latent_dim)
        self.target_marks = target_marks(target, W)
        for last in (self.modulation, self.skip, self.out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        with torch.no_grad():  # every scale is 1, every gate 0
            self.modulation.bias.view(-1, W)[[i for i in range(num_modulations) if i % NUM_MODULATIONS in (1, 4)]] = 1.0

    def condition(
        self,
        latents: Tensor,
        available: Available,
        frames: Tensor,
        targets: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> Condition:
        """What joins the embedded time, or the condition's tokens, and what each row may attend to."""
        x, present, allowed = readable(latents, available, frames, self.target, targets, dropped)
        told = None if self.target_marks is None else self.target_marks[targets]
        tokens = None
        if self.pooled is not None:
            pooled = self.pooled(x, present)
            told = pooled if told is None else told + pooled
        if self.sources is not None:
            tokens, read = self.sources(x, present, self.position, sources_read(self.target, available))
            allowed = torch.cat([allowed, read], dim=1)
        return Condition(told, tokens, attention_bias(allowed, x.dtype))

    def forward(self, x: Tensor, t: Tensor, cache: Condition) -> Tensor:
        """x [B, L, D] and t [B] to the network's output [B, L, D]."""
        c = self.time(time_features(t, self.time_rates))
        c = F.silu(c if cache.told is None else c + cache.told)
        modulations = self.modulation(c).view(c.shape[0], 1, -1, self.width).unbind(2)
        h = self.frame_in(x) + self.position
        if cache.tokens is not None:
            h = torch.cat([h, cache.tokens], dim=1)
        for i, layer in enumerate(self.layers):
            h = layer(h, modulations[NUM_MODULATIONS * i :][:NUM_MODULATIONS], None, cache.mask)
        shift, scale = modulations[-2:]
        return torch.addcmul(self.out(modulated(h[:, : x.shape[1]], shift, scale)), self.skip(c)[:, None], x)

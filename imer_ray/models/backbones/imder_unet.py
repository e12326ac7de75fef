"""IMDer's conditional score network: a one-dimensional U-Net over frames with cross-attention at every level.

Wang et al., Incomplete Multimodality-Diffused Emotion Recognition, NeurIPS 2023; shapes as in the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imer_ray.data.missing import Available
from imer_ray.models.attention import Encoders, KeysValues
from imer_ray.models.backbones._rows import readable

MIN_FRAMES = 8  # three halvings; shorter sequences have no frame left to halve


@dataclass(frozen=True)
class ImderUnet:
    """Channels D, 2 D, 4 D, 8 D at lengths L, L/2, L/4, L/8 (rounded up).

    Attributes:
        cached: the condition's pyramid, keys and values are computed once a sampling run; False: at every call, as
            published, which is what speed is measured beside. The results are the same.
    """

    shareable: ClassVar[bool] = False
    min_frames: ClassVar[int] = MIN_FRAMES
    num_heads: int = 8
    num_layers: int = 2
    time_dim: int = 256
    fourier_scale: float = 30.0
    cached: bool = True

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.num_layers < 1:
            raise ValueError("num_heads and num_layers must be at least 1")
        if self.time_dim < 2 or self.time_dim % 2:
            raise ValueError(f"time_dim must be even and positive, not {self.time_dim}")

    def build(self, latent_dim: int, num_frames: int, target: int | None) -> ImderUnetNetwork:
        if target is None:
            raise ValueError("the backbone imder_unet is one network per modality, as published; it cannot be shared")
        if num_frames < MIN_FRAMES:
            raise ValueError(
                f"diffusion.backbone=imder_unet needs latents of at least {MIN_FRAMES} frames, not {num_frames}: "
                "choose another backbone, longer sequences, or an encoder that keeps them (encoder.padding)"
            )
        return ImderUnetNetwork(self, latent_dim, target)


class Condition(NamedTuple):
    fused: Tensor  # [B, D, L]
    known: list[list[KeysValues]] | None  # of every level's attention to it; None: not computed in advance
    own: Tensor  # [B, 1, L], 1 where the clip has frames


class ImderUnetNetwork(nn.Module):
    """``score_net`` and, beside it, the 1x1 convolution that fuses two available modalities into one condition."""

    scale_input = False
    starts_at_zero = False

    def __init__(self, settings: ImderUnet, latent_dim: int, target: int) -> None:
        super().__init__()
        self.target, self.cached = target, settings.cached
        self.score_net = ScoreNet(settings, latent_dim)
        self.fuse = nn.Conv1d(2 * latent_dim, latent_dim, 1)

    def condition(
        self,
        latents: Tensor,
        available: Available,
        frames: Tensor,
        targets: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> Condition:
        """The only available modality itself, or the fusion of two; zero if there is none."""
        x, present, own = readable(latents, available, frames, self.target, targets, dropped)
        x = x.transpose(2, 3)
        both = present.any(2).all(1)[:, None, None]
        fused = torch.where(both, self.fuse(x.flatten(1, 2)), x.sum(1))
        return Condition(fused, self.score_net.remember(fused) if self.cached else None, own[:, None].to(x.dtype))

    def forward(self, x: Tensor, t: Tensor, cache: Condition) -> Tensor:
        """x [B, L, D] and t [B] to the network's output [B, L, D], not yet divided by std(t)."""
        known = self.score_net.remember(cache.fused) if cache.known is None else cache.known
        return self.score_net(x.transpose(1, 2) * cache.own, t, known).transpose(1, 2)


class FourierFeatures(nn.Module):
    """t [B] -> [B, dim]: sin and cos of 2 pi w t, w ~ N(0, scale^2) drawn once and frozen (Tancik et al., 2020)."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim // 2) * scale, requires_grad=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * (self.weight * (2 * math.pi))
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ScoreNet(nn.Module):
    """x [B, D, L], t [B] and what its levels `remember` of a condition [B, D, L] -> [B, D, L]."""

    def __init__(self, settings: ImderUnet, latent_dim: int) -> None:
        super().__init__()
        D = latent_dim
        self.time = nn.Sequential(
            FourierFeatures(settings.time_dim, settings.fourier_scale),
            nn.Linear(settings.time_dim, settings.time_dim),
            nn.SiLU(),
        )
        self.biased = [D, 2 * D, 4 * D, 8 * D, 4 * D, 2 * D, D]  # channels of the levels that see the time
        self.time_biases = nn.Linear(settings.time_dim, sum(self.biased))
        self.down = nn.ModuleList(
            [
                Level(settings, _conv(D, D, 1), None, D, num_groups=4),
                *(Level(settings, _conv(c, 2 * c, 2), _conv(c, 2 * c, 2), 2 * c) for c in (D, 2 * D, 4 * D)),
            ]
        )
        # From the second level on, the encoder's output of the same length is concatenated.
        self.up = nn.ModuleList(
            [
                Level(settings, _transposed(8 * D, 4 * D, 2), _transposed(8 * D, 4 * D, 2), 4 * D),
                Level(settings, _transposed(8 * D, 2 * D, 2), _transposed(4 * D, 2 * D, 2), 2 * D),
                Level(settings, _transposed(4 * D, D, 2), _transposed(2 * D, D, 2), D),
                Level(settings, _transposed(2 * D, D, 1), _transposed(D, D, 1), D, last=True),
            ]
        )

    def remember(self, condition: Tensor) -> list[list[KeysValues]]:
        """Of every level: the keys and values of the condition, resampled as the features are."""
        known, lengths = [], []
        down: Any = self.down
        up: Any = self.up
        for level in down:
            condition, keys_values = level.remember(condition)
            known.append(keys_values)
            lengths.append(condition.shape[2])
        for level, length in zip(up, _targets(lengths), strict=True):
            condition, keys_values = level.remember(condition, length)
            known.append(keys_values)
        return known

    def forward(self, x: Tensor, t: Tensor, known: list[list[KeysValues]]) -> Tensor:
        biases = list(self.time_biases(self.time(t))[..., None].split(self.biased, dim=1))
        h, skips, num_down = x, [], len(self.down)
        for level, keys_values in zip(self.down, known[:num_down], strict=True):
            h = level(h, keys_values, biases.pop(0))
            skips.append(h)
        lengths = _targets([s.shape[2] for s in skips])
        for i, (level, keys_values, length) in enumerate(zip(self.up, known[num_down:], lengths, strict=True)):
            if i > 0:
                h = torch.cat([h, skips[-1 - i]], dim=1)
            h = level(h, keys_values, biases.pop(0) if biases else None, length)
        return h


def _targets(lengths: list[int]) -> list[int]:
    """Lengths that the decoder's levels end with, given those of the encoder's."""
    return [*lengths[-2::-1], lengths[0]]


class Level(nn.Module):
    """conv, add what the features read from the condition of the same length, add the time's bias, normalise, swish."""

    def __init__(
        self,
        settings: ImderUnet,
        conv: nn.Module,
        condition_conv: nn.Module | None,
        channels: int,
        num_groups: int = 32,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.conv, self.condition_conv = conv, condition_conv
        self.attention = Encoders(1, channels, settings.num_heads, settings.num_layers, causal=True)
        self.norm = None if last else nn.GroupNorm(math.gcd(num_groups, channels), channels)

    def remember(self, condition: Tensor, length: int | None = None) -> tuple[Tensor, list[KeysValues]]:
        """The condition [B, C', L] at this level's length, and its keys and values."""
        if self.condition_conv is not None:
            condition = self.condition_conv(condition, *_output_size(length))
        return condition, self.attention.remember(condition.transpose(1, 2)[None])

    def forward(self, h: Tensor, known: list[KeysValues], bias: Tensor | None, length: int | None = None) -> Tensor:
        """h [B, C, L] -> [B, C'', L'']; ``length`` is L'' of a transposed convolution."""
        h = self.conv(h, *_output_size(length))
        read = self.attention(h.transpose(1, 2)[None], known)
        h = h + read[0].transpose(1, 2)
        if self.norm is not None and bias is not None:
            h = F.silu(self.norm(h + bias))
        return h


def _output_size(length: int | None) -> list[list[int]]:
    return [] if length is None else [[length]]


def _conv(num_in: int, num_out: int, stride: int) -> nn.Module:
    return nn.Conv1d(num_in, num_out, 3, stride, padding=1, bias=False)


def _transposed(num_in: int, num_out: int, stride: int) -> nn.Module:
    return nn.ConvTranspose1d(num_in, num_out, 3, stride, padding=1, bias=stride == 1)

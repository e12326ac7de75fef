"""Projection of every modality's features to latents of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imer_ray.data.missing import MODALITIES
from imer_ray.models.dropout import Dropout


@dataclass(frozen=True)
class Projection:
    """Per modality a convolution over time D_m -> ``latent_dim`` without bias.

    The defaults are IMDer's (Wang et al., NeurIPS 2023; their code): kernel 3 without padding makes 48 frames of 50.

    Attributes:
        dropout: of the input features of all modalities; ``text_dropout`` comes on top for the language features.
        clip: bound on standardised features, in standard deviations: raw acoustic features have heavy tails. None: no
            bound, as published.
    """

    latent_dim: int = 32
    kernel_size: int = 3
    padding: int = 0
    dropout: float = 0.0
    text_dropout: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.latent_dim < 1 or self.kernel_size < 1 or self.padding < 0:
            raise ValueError("latent_dim and kernel_size must be at least 1, padding at least 0")
        if self.padding >= self.kernel_size:
            raise ValueError(f"padding {self.padding} must be smaller than kernel_size {self.kernel_size}")
        for name in ("dropout", "text_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, not {self.clip}")

    def length(self, num_frames: int) -> int:
        """Latent frames made of this many feature frames."""
        return num_frames + 2 * self.padding - self.kernel_size + 1

    def build(self, dims: Mapping[str, int], lengths: Mapping[str, int]) -> Encoder:
        """The encoder of features {m: [B, lengths[m], dims[m]]}."""
        shortest = self.length(min(lengths.values()))
        if shortest < 1:
            least = self.kernel_size - 2 * self.padding
            raise ValueError(
                f"kernel_size {self.kernel_size} needs at least {least} frames, not {min(lengths.values())}"
            )
        return Encoder(self, dims, shortest)


class Encoder(nn.Module):
    """Features {m: [B, L_m, D_m]} and frames {m: [B, L_m]} to latents [B, M, L, D] and frames [B, M, L].

    A modality whose features are left out has no frames. A latent frame is present where any feature frame under the
    kernel is; absent ones are zero. Modalities that come in more frames than the shortest one are averaged over their
    present frames down to its length.
    """

    def __init__(self, settings: Projection, dims: Mapping[str, int], num_frames: int) -> None:
        super().__init__()
        self.num_frames, self.kernel_size, self.padding = num_frames, settings.kernel_size, settings.padding
        self.clip = settings.clip
        self.convs = nn.ModuleDict(
            {
                m: nn.Conv1d(dims[m], settings.latent_dim, self.kernel_size, padding=self.padding, bias=False)
                for m in MODALITIES
            }
        )
        rates = dict.fromkeys(MODALITIES, settings.dropout)
        rates["l"] = 1 - (1 - settings.dropout) * (1 - settings.text_dropout)
        self.dropout = nn.ModuleDict({m: Dropout(rate) for m, rate in rates.items()})

    def forward(self, features: Mapping[str, Tensor], frames: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        projected = {m: self._project(m, features[m], frames[m]) for m in MODALITIES if m in features}
        x, there = next(iter(projected.values()))
        nothing = torch.zeros_like(x), torch.zeros_like(there)
        latents, present = zip(*(projected.get(m, nothing) for m in MODALITIES), strict=True)
        return torch.stack(latents, dim=1), torch.stack(present, dim=1)

    def _project(self, m: str, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L_m, D_m] -> [B, L, D] and its frames [B, L]."""
        x = x.masked_fill(~frames[..., None], 0.0)
        if self.clip is not None:
            x = x.clamp(-self.clip, self.clip)
        x, conv = self.dropout[m](x), cast(nn.Conv1d, self.convs[m])
        if self.kernel_size == 1:  # each frame on its own: the same product without a convolution's preparations
            h, present = F.linear(x, conv.weight[:, :, 0]), frames  # zeros of zeros
        else:
            h = conv(x.transpose(1, 2)).transpose(1, 2)
            kernel = h.new_ones(1, 1, self.kernel_size)
            present = F.conv1d(frames.to(h.dtype)[:, None], kernel, padding=self.padding)[:, 0] > 0
            h = h * present[..., None]
        if h.shape[1] == self.num_frames:
            return h, present
        share = F.adaptive_avg_pool1d(present.to(h.dtype)[:, None], self.num_frames)
        h = F.adaptive_avg_pool1d(h.transpose(1, 2), self.num_frames) / share.clamp(min=1e-6)
        return h.transpose(1, 2), share[:, 0] > 0

"""A conditional denoising MLP-Mixer: no attention, a fraction of the Transformer's time.

What the available modalities say is summed into one condition per frame, which `condition` computes once for all
layers and `forward` adds at every step; layers mix along time and along features in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imer_ray.data.missing import Available
from imer_ray.models.backbones._blocks import NUM_TIME_FEATURES, time_features, time_rates
from imer_ray.models.backbones._rows import marked, readable, sources_of, sources_read, subset_number, target_marks


@dataclass(frozen=True)
class Mixer:
    """``num_layers`` layers of ``width`` features; each mixes the frames, then the features (``mlp_ratio`` times
    wider).

    References:
        Tolstikhin et al., 2021, MLP-Mixer: An all-MLP Architecture for Vision, arXiv:2105.01601, equation 1.
    """

    shareable: ClassVar[bool] = True
    min_frames: ClassVar[int] = 1
    width: int = 64
    num_layers: int = 2
    mlp_ratio: int = 2

    def __post_init__(self) -> None:
        for name in ("width", "num_layers", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    def build(self, latent_dim: int, num_frames: int, target: int | None) -> MixerNetwork:
        return MixerNetwork(self, latent_dim, num_frames, target)


class Condition(NamedTuple):
    memories: tuple[Tensor, ...]  # per layer [B, L, W]
    own: Tensor  # [B, L, 1], 1 where the clip has frames
    mark: Tensor | None  # [B, W], of each row's target, where the network is shared


class MixerNetwork(nn.Module):
    """F(x_t, t) = out(h) + s(t) x_t, both terms 0 at first (as in the Transformer); L is fixed at ``num_frames``."""

    scale_input = True
    starts_at_zero = True
    time_rates: Tensor

    def __init__(self, settings: Mixer, latent_dim: int, num_frames: int, target: int | None) -> None:
        super().__init__()
        W, num_sources = settings.width, len(sources_of(target))
        self.width, self.target, self.num_layers = W, target, settings.num_layers
        self.frame_in = nn.Linear(latent_dim, W)
        self.position = nn.Parameter(torch.randn(num_frames, W) * 0.02)
        self.source_in = nn.ModuleList(nn.Linear(latent_dim, W, bias=False) for _ in range(num_sources))
        # What is available is told apart per subset, as a sum of sources alone could not be rescaled when one is gone.
        self.subset = nn.Parameter(torch.randn(2**num_sources, W) * 0.02)
        self.along_time = nn.Linear(num_frames, num_frames)
        self.memory = nn.Sequential(nn.SiLU(), nn.Linear(W, W * settings.num_layers))
        self.layers = nn.ModuleList(Layer(settings, num_frames) for _ in range(settings.num_layers))
        self.register_buffer("time_rates", time_rates(), persistent=False)
        self.time = nn.Sequential(nn.Linear(NUM_TIME_FEATURES, W), nn.SiLU())
        self.modulation = nn.Linear(W, 2 * W * settings.num_layers)
        self.skip = nn.Linear(W, latent_dim)
        self.out = nn.Linear(W, latent_dim)
        self.target_marks = target_marks(target, W)
        for last in (self.modulation, self.skip, self.out):
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
        """What the available frames add to every layer, and which frames the clip has."""
        x, present, own = readable(latents, available, frames, self.target, targets, dropped)
        sources = sources_read(self.target, available)
        told = sum((self.source_in[i](x[:, i]) for i in sources), start=x.new_zeros(()))  # of absent frames zeros
        told = told + self.subset[subset_number(present)][:, None]
        told = told + self.along_time(told.mT).mT
        memory = self.memory(told).view(x.shape[0], x.shape[2], self.num_layers, self.width)
        mark = None if self.target_marks is None else self.target_marks[targets]
        return Condition(memory.unbind(2), own[..., None].to(x.dtype), mark)

    def forward(self, x: Tensor, t: Tensor, cache: Condition) -> Tensor:
        """x [B, L, D] and t [B] to the network's output [B, L, D]."""
        memories, own, mark = cache
        time = marked(self.time(time_features(t, self.time_rates)), mark)
        modulations = self.modulation(time).view(time.shape[0], self.num_layers, 2, 1, self.width).unbind(1)
        h = self.frame_in(x) + self.position
        for layer, memory, modulation in zip(self.layers, memories, modulations, strict=True):
            h = layer((h + memory) * own, modulation)
        return torch.addcmul(self.out(h), self.skip(time)[:, None], x)


class Layer(nn.Module):
    """Pre-norm mixing of frames and of features, each scaled by time."""

    def __init__(self, settings: Mixer, num_frames: int) -> None:
        super().__init__()
        W = settings.width
        self.frames_norm, self.features_norm = nn.LayerNorm(W), nn.LayerNorm(W)
        self.frames = nn.Sequential(
            nn.Linear(num_frames, 2 * num_frames), nn.SiLU(), nn.Linear(2 * num_frames, num_frames)
        )
        self.expand, self.contract = nn.Linear(W, settings.mlp_ratio * W), nn.Linear(settings.mlp_ratio * W, W)

    def forward(self, h: Tensor, modulation: Tensor) -> Tensor:
        """h [B, L, W], modulation [B, 2, 1, W]."""
        along_time, along_features = modulation.unbind(1)
        h = h + self.frames((self.frames_norm(h) * (1 + along_time)).mT).mT
        return h + self.contract(F.silu(self.expand(self.features_norm(h) * (1 + along_features))))

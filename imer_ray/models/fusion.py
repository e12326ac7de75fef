"""Fusion of the modalities by cross-modal Transformers (MulT, Tsai et al., 2019, arXiv:1906.00295), and the head."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES
from imer_ray.models.activations import ACTIVATIONS
from imer_ray.models.attention import Encoders, attention_mask
from imer_ray.models.dropout import Dropout

# (target, source): the target's frames attend to the source's; two encoders per target, in order l, a, v.
PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
ACOUSTIC = 1


@dataclass(frozen=True)
class MulT:
    """Six cross-modal encoders of width D, then per modality one self-attention encoder of width 2 D.

    The defaults are IMDer's for CMU-MOSI (Wang et al., NeurIPS 2023; their code).

    Attributes:
        causal: a frame sees earlier frames only, as published; the readout is the last frame, which sees all.
        attn_dropout: of the attention weights.
        attn_dropout_a: of the attention weights where acoustic frames are attended to.
        embed_dropout: of embedded inputs.
        relu_dropout: of feed-forward units.
        res_dropout: of residual branches.
        out_dropout: of the head.
    """

    num_heads: int = 8
    num_cross_layers: int = 4
    num_self_layers: int = 4
    causal: bool = True
    attn_dropout: float = 0.0
    attn_dropout_a: float = 0.2
    embed_dropout: float = 0.2
    relu_dropout: float = 0.0
    res_dropout: float = 0.0
    out_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_heads", "num_cross_layers", "num_self_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in (f.name for f in fields(self) if "dropout" in f.name):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), not {getattr(self, name)}")

    def build(self, latent_dim: int) -> MulTEncoders:
        return MulTEncoders(self, latent_dim)

    def build_head(self, latent_dim: int) -> Head:
        return Head(6 * latent_dim, self.out_dropout)


class MulTEncoders(nn.Module):
    """Latents [B, M, L, D] and frames [B, M, L] to features [B, 6 D], read at the last frame that any modality has."""

    targets: Tensor
    sources: Tensor

    def __init__(self, settings: MulT, latent_dim: int) -> None:
        super().__init__()
        s = settings
        dropouts = {
            "embed_dropout": s.embed_dropout,
            "relu_dropout": s.relu_dropout,
            "res_dropout": s.res_dropout,
        }
        rates = [s.attn_dropout_a if source == ACOUSTIC else s.attn_dropout for _, source in PAIRS]
        self.causal = s.causal
        targets, sources = torch.tensor(PAIRS).T  # as buffers, since a list of places would be sent at each call
        self.register_buffer("targets", targets.contiguous(), persistent=False)
        self.register_buffer("sources", sources.contiguous(), persistent=False)
        self.cross = Encoders(len(PAIRS), latent_dim, s.num_heads, s.num_cross_layers, s.causal, rates, **dropouts)
        self.joint = Encoders(
            len(MODALITIES), 2 * latent_dim, s.num_heads, s.num_self_layers, s.causal, s.attn_dropout, **dropouts
        )

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        B, M, L, D = latents.shape
        streams = latents.masked_fill(~frames[..., None], 0.0).transpose(0, 1)
        present = frames.transpose(0, 1)
        mask = attention_mask(present[self.sources].flatten(0, 1), L, self.causal)
        fused = self.cross(streams[self.targets], streams[self.sources], mask)
        fused = fused.view(M, 2, B, L, D).permute(0, 2, 3, 1, 4).reshape(M, B, L, 2 * D)
        rows = present.flatten(0, 1)
        mask, last_mask = attention_mask(rows, L, self.causal), attention_mask(rows, 1, causal=False)
        return self.joint.read(fused, last_frame(frames), mask, last_mask).transpose(0, 1).flatten(1)


def last_frame(frames: Tensor) -> Tensor:
    """[B]: the last frame that any modality of frames [B, M, L] has; 0 where none has any."""
    return torch.where(frames.any(1), torch.arange(frames.shape[2], device=frames.device), 0).amax(1)


class Head(nn.Module):
    """Features [B, F] to predictions [B]: out(h), h = x + W2 f(W1 x), where f is a ReLU as published."""

    def __init__(self, num_features: int, dropout: float = 0.0, activation: str = "relu") -> None:
        super().__init__()
        self.num_features, self.activation = num_features, ACTIVATIONS[activation]
        self.hidden = nn.Linear(num_features, num_features)
        self.residual = nn.Linear(num_features, num_features)
        self.out = nn.Linear(num_features, 1)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.hidden(features)))
        return self.out(features + self.residual(hidden)).squeeze(1)

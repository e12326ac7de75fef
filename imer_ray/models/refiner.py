"""Refiner of recovered latents: a one-dimensional RCAN group (Zhang et al., 2018, arXiv:1807.02758) as in IMDer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imer_ray.data.missing import fillable
from imer_ray.devices import is_gpu
from imer_ray.models.activations import ACTIVATIONS, check_activation


@dataclass(frozen=True)
class RCAN:
    """1x1 conv D -> width, ``num_blocks`` residual channel-attention blocks, 1x1 conv width -> D.

    The defaults are IMDer's (Wang et al., NeurIPS 2023; their code).

    Attributes:
        reduction: how much narrower the bottleneck of the channel attention is.
        residual: add the input to the output and start as the identity; as published there is no such skip.
        activation: of the blocks and their bottlenecks, see `imer_ray.models.activations`.
    """

    num_blocks: int = 20
    width: int = 64
    reduction: int = 16
    residual: bool = False
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.num_blocks < 1 or self.reduction < 1:
            raise ValueError("num_blocks and reduction must be at least 1")
        if self.width < self.reduction:
            raise ValueError(f"width {self.width} must be at least the reduction {self.reduction}")
        check_activation(self.activation)

    def build(self, latent_dim: int) -> Refiner:
        return Refiner(self, latent_dim)


@dataclass(frozen=True)
class NoRefiner:
    """Recovered latents stay as they are; at one step a refiner takes a tenth of a prediction's time."""

    def build(self, latent_dim: int) -> nn.Identity:
        return nn.Identity()


class Refiner(nn.Module):
    """Latents [B, L, D] of one modality to refined ones."""

    def __init__(self, settings: RCAN, latent_dim: int) -> None:
        super().__init__()
        width = settings.width
        self.residual = settings.residual
        self.widen = nn.Conv1d(latent_dim, width, 1)
        self.blocks = nn.Sequential(*(Block(settings) for _ in range(settings.num_blocks)))
        self.collect = nn.Conv1d(width, width, 3, padding=1)
        self.narrow = nn.Conv1d(width, latent_dim, 1)
        if settings.residual:
            nn.init.zeros_(self.narrow.weight)
            nn.init.zeros_(self.narrow.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = self.widen(x.transpose(1, 2))
        h = h + self.collect(self.blocks(h))
        refined = self.narrow(h).transpose(1, 2)
        return x + refined if self.residual else refined


class Block(nn.Module):
    """h + s(c) c with c = conv(f(conv(h))) and f a ReLU as published; s(c) in (0, 1) per channel, from a bottleneck on
    the time mean of c."""

    def __init__(self, settings: RCAN) -> None:
        super().__init__()
        width, reduction, self.activation = settings.width, settings.reduction, ACTIVATIONS[settings.activation]
        self.first = nn.Conv1d(width, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.squeeze = nn.Linear(width, width // reduction)
        self.excite = nn.Linear(width // reduction, width)

    def forward(self, h: Tensor) -> Tensor:
        c = self.second(self.activation(self.first(h)))
        scale = self.excite(self.activation(self.squeeze(c.mean(2)))).sigmoid()
        return h + c * scale[..., None]


def refine(
    refiners: Sequence[nn.Module] | nn.ModuleList, latents: Tensor, available: Tensor, recoverable: Tensor
) -> Tensor:
    """Latents [B, M, L, D] in which each modality that was recovered went through its refiner.

    Recovered is what was not ``available`` [B, M] and could be (``recoverable`` [M]); zeros of what could not stay.
    """
    columns, recovered = list(latents.unbind(1)), fillable(available, recoverable)
    if is_gpu(latents.device):  # how many rows there are is not asked: an answer takes longer than the others' rows
        refined = [refiner(x).to(x.dtype) for refiner, x in zip(refiners, columns, strict=True)]
        return torch.where(recovered[..., None, None], torch.stack(refined, dim=1), latents)
    counts = recovered.sum(0).tolist()
    for m, refiner in enumerate(refiners):
        if counts[m] == len(latents):
            columns[m] = refiner(columns[m])
        elif counts[m]:
            rows = recovered[:, m].nonzero().squeeze(1)
            refined = refiner(columns[m][rows]).to(columns[m].dtype)  # autocast refines in half precision
            columns[m] = columns[m].index_copy(0, rows, refined)
    return torch.stack(columns, dim=1)

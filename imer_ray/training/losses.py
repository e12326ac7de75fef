"""What training minimises, per clip, and the missing patterns that it is minimised under."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from imer_ray.data.missing import PATTERNS, recoverable_modalities
from imer_ray.devices import sent
from imer_ray.errors import UserError


def task_loss(predictions: Tensor, labels: Tensor, label_kind: str) -> Tensor:
    """[B]: |prediction - label| for regression labels (as MMSA), logistic loss for labels of -1 and 1."""
    if label_kind == "binary":
        return F.softplus(-labels * predictions)
    return (predictions - labels).abs()


def recovery_loss(refined: Tensor, truth: Tensor, wanted: Tensor, frames: Tensor) -> Tensor:
    """[B]: mean squared error over the frames of the recovered modalities whose truth was recorded.

    Args:
        refined, truth: latents [B, M, L, D].
        wanted: [B, M], True where a modality was recorded but not available.
        frames: [B, M, L], True where a frame was recorded.
    """
    weight = (wanted[..., None] & frames).to(refined.dtype)
    error = ((refined - truth).square().mean(-1) * weight).sum((1, 2))
    return error / weight.sum((1, 2)).clamp(min=1)


def ranking_loss(more: Tensor, fewer: Tensor) -> Tensor:
    """[B]: max(0, L_more - L_fewer), of task losses [B] of the same clips under nested patterns; 0 where more
    modalities read no worse.

    Where they do, a step down makes the reading of more better and that of fewer worse. With a weight of at most 1 the
    task loss of fewer, which is minimised beside it, holds against that.

    Li, Chen and Han, SimMLM: A Simple Framework for Multi-modal Learning with Missing Modality, 2025, arXiv:2507.19264
    (more versus fewer).
    """
    return (more - fewer).clamp(min=0)


def has_label(labels: Tensor) -> Tensor:
    """[N]: clips that carry a label."""
    return ~torch.isnan(labels)


def labelled(labels: Tensor, recorded: Tensor) -> Tensor:
    """The clips [n] of labels [N] and recorded [N, M] that a recogniser can learn from: something of them to read, and
    a label."""
    return (has_label(labels) & recorded.any(1)).nonzero().squeeze(1).cpu()


def under_patterns(recorded: Tensor, counted: Callable[[Tensor], Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What each missing pattern leaves of clips, of which ``recorded`` [N, M] is known, where it leaves something.

    Args:
        counted: of what a pattern leaves [N, M], the clips [N] to be looked at.

    Yields:
        the pattern's name, the clips [n], n >= 1, and what is available of them [n, M].
    """
    recorded = recorded.cpu()
    for name, pattern in PATTERNS.items():
        available = recorded & pattern
        rows = (available.any(1) & counted(available)).nonzero().squeeze(1)
        if len(rows):
            yield name, rows, available[rows]


def mean_over_patterns(
    loss: Callable[[str, Tensor, Tensor], Tensor], recorded: Tensor, counted: Callable[[Tensor], Tensor]
) -> float:
    """The mean of a loss's means over the clips of each missing pattern; arguments as of `under_patterns`, which gives
    ``loss`` its own, for the losses [n] of these clips."""
    return float(torch.stack([loss(*left).mean() for left in under_patterns(recorded, counted)]).mean())


def check_learnable(recorded: Tensor) -> None:
    """Refuse training clips, of which ``recorded`` [N, M] is known, that say nothing about recovery.

    Raises:
        UserError: no clip has two modalities.
    """
    if not recoverable_modalities(recorded):
        raise UserError("no training clip has two modalities recorded, so that nothing can be learnt about recovery")


def training_patterns(recorded: Tensor, generator: torch.Generator, complete: bool = True) -> Tensor:
    """Available modalities [B, M], where the generator lives: each clip gets one of the seven patterns with equal
    chance, or one of the six in which something is missing where not even ``complete`` data shall be seen.

    A pattern that leaves a clip nothing (its only modality was never recorded) gives way to all that was recorded.
    """
    patterns = torch.stack([mask for mask in PATTERNS.values() if complete or not mask.all()])
    choice = torch.randint(len(patterns), (len(recorded),), generator=generator, device=generator.device)
    recorded = sent(recorded, choice.device)
    available = sent(patterns, choice.device)[choice] & recorded
    return torch.where(available.any(1, keepdim=True), available, recorded)

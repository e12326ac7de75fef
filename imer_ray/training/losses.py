"""What training minimises, per clip, and the missing patterns that it is minimised under."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from imer_ray.data.missing import PATTERNS, recoverable_modalities
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


def has_label(labels: Tensor) -> Tensor:
    """[N]: clips that carry a label."""
    return ~torch.isnan(labels)


def learnable(labels: Tensor, recorded: Tensor) -> Tensor:
    """[N]: clips to learn from, which carry a label and of which, by ``recorded`` [N, M], something was recorded."""
    return has_label(labels) & recorded.any(1)


def check_learnable(recorded: Tensor) -> None:
    """Refuse training clips, of which ``recorded`` [N, M] is known, that say nothing about recovery.

    Raises:
        UserError: no clip has two modalities.
    """
    if not recoverable_modalities(recorded):
        raise UserError("no training clip has two modalities recorded, so that nothing can be learnt about recovery")


def training_patterns(recorded: Tensor, generator: torch.Generator, complete: bool = True) -> Tensor:
    """Available modalities [B, M]: each clip gets one of the seven patterns with equal chance, or one of the six in
    which something is missing where not even ``complete`` data shall be seen.

    A pattern that leaves a clip nothing (its only modality was never recorded) gives way to all that was recorded.
    """
    patterns = torch.stack([mask.cpu() for mask in PATTERNS.values() if complete or not mask.all()])
    choice = torch.randint(len(patterns), (len(recorded),), generator=generator, device=generator.device).cpu()
    available = patterns[choice] & recorded
    return torch.where(available.any(1, keepdim=True), available, recorded)

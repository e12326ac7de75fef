"""What the recogniser of complete data makes of every clip, for one that learns to read them with something missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.models.model import Recogniser
from imer_ray.training.latents import BATCH_SIZE, Latents

MIN_VARIANCE = 1e-6  # of a teacher that says the same of all clips


@dataclass(frozen=True)
class Teacher:
    """Fused features [N, F] and predictions [N] of clips with all that they recorded."""

    features: Tensor
    predictions: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, recogniser: Recogniser, latents: Latents) -> Teacher:
        """Of a recogniser as `encode` left it, to which what was never recorded is zero."""
        parts, recogniser = [], recogniser.eval()
        for rows in torch.arange(len(latents.x), device=latents.x.device).split(BATCH_SIZE):
            recorded = latents.recorded[rows]
            parts.append(recogniser.fuse(latents.x[rows] * recorded[..., None, None], recorded, latents.frames[rows]))
        features = torch.cat(parts)
        return cls(features, recogniser.head(features))

    def distillation_loss(self, rows: Tensor, features: Tensor, predictions: Tensor, hides: Tensor) -> Tensor:
        """[B]: (p - p_T)^2 / Var p_T + mean_F (f - f_T)^2 / mean_F Var f_T of the clips of which something is hidden, 0
        of the others.

        Its minimum is the mean of what the teacher says, given what is available. Li et al., Correlation-Decoupled
        Knowledge Distillation for Multimodal Sentiment Analysis with Incomplete Modalities, 2024, arXiv:2404.16456,
        distil a complete-data teacher's features and responses, too, by losses of their own; this is the plain form.

        Args:
            rows: the clips [B], by their number among the teacher's.
            features, predictions: f [B, F] and p [B], of what is available of them.
            hides: [B], True where something that was recorded is not available.
        """
        of_answers = (predictions - self.predictions[rows]).square() / _variance(self.predictions)
        of_features = (features - self.features[rows]).square().mean(1) / _variance(self.features)
        return (of_answers + of_features) * hides


def _variance(values: Tensor) -> Tensor:
    """Over the clips, the first dimension, and the mean of it over the others."""
    return values.var(0, correction=0).mean().clamp(min=MIN_VARIANCE)

"""Recovered beside true latents of some clips, for feature maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.evaluation.comparison import Trained
from imer_ray.models.model import Recogniser
from imer_ray.models.pattern_model import PatternModel, by_pattern

NUM_CLIPS = 300


def latents_of(trained: Trained, split: str) -> list[dict[str, Any]]:
    """One row per modality and clip: ``true`` and ``recovered`` latents [D], each the mean over the present frames.

    A modality is recovered from all the others that a clip recorded; the clips are the split's first `NUM_CLIPS` with
    something to recover it from. Systems that leave a missing modality at zero, or read the others without filling it
    in as `mixture` does, have no rows.
    """
    if not isinstance(trained.model.recogniser, Recogniser):
        return []
    recorded = trained.dataset.recorded(split)
    rows = []
    for m, name in enumerate(MODALITIES):
        some = (recorded[:, m] & (recorded.sum(1) > 1)).nonzero().squeeze(1)[:NUM_CLIPS]
        if not len(some):
            continue
        batch = trained.dataset.batch(split, some).to(trained.device)
        available = batch.recorded.clone()
        available[:, m] = False
        filled, frames = _filled(trained, batch, available)
        true, _ = trained.model.encoder(batch.features, batch.frames)
        if not bool(filled[:, m].any()):
            continue
        pooled = [_mean(x[:, m], frames[:, m]).tolist() for x in (true, filled)]
        for clip, label, a, b in zip(some.tolist(), batch.labels.tolist(), *pooled, strict=True):
            rows.append(
                {"Seed": trained.seed, "Modality": name, "Clip": clip, "Label": label, "True": a, "Recovered": b}
            )
    return rows


@torch.no_grad()
def _filled(trained: Trained, batch: Batch, available: Tensor) -> tuple[Tensor, Tensor]:
    """Latents [B, M, L, D] as the fusion reads them, and the frames [B, M, L] that were recorded.

    Of several draws the first is taken.
    """
    inference = trained.inference
    filled, frames = trained.model.encoder(batch.features, batch.frames)
    filled = filled * available[..., None, None]
    for pattern, rows in by_pattern(available):
        some = batch.select(rows)
        ready = PatternModel(trained.model, pattern, inference.sampler, inference.num_steps)
        latents, _ = ready.fill(
            filled[rows], frames[rows] & available[rows][..., None], ready.noise(some, trained.seed)
        )
        filled[rows] = ready.recogniser.refine(latents)
    return filled, frames


def _mean(x: Tensor, present: Tensor) -> Tensor:
    """[B, D]: mean of x [B, L, D] over present frames [B, L]."""
    weight = present[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)

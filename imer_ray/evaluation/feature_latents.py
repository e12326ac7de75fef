"""Recovered beside true latents of some clips, for feature maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.evaluation.comparison import DEVICE, Trained
from imer_ray.evaluation.predict import predictor
from imer_ray.models.model import Recogniser
from imer_ray.training.loop import seeded

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
        batch = trained.dataset.batch(split, some).to(DEVICE)
        available = batch.recorded.clone()
        available[:, m] = False
        filled, frames = _filled(trained, batch, available, f"{split} {name}")
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
def _filled(trained: Trained, batch: Batch, available: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
    """Latents [B, M, L, D] as the fusion reads them, and the frames [B, M, L] that were recorded.

    They are taken where they enter the recogniser, so that it does not matter how a system recovers.
    """
    caught: list[tuple[Tensor, ...]] = []

    def catch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs)

    hook = trained.model.recogniser.register_forward_pre_hook(catch)
    try:
        generator = seeded(trained.seed, "latents", purpose, device=DEVICE)
        predictor(trained.model, trained.inference, generator)(batch, available)
    finally:
        hook.remove()
    latents, available, frames = (x[: len(batch)] for x in caught[0])  # the first of several draws
    recogniser: Any = trained.model.recogniser
    return recogniser.refine(latents, available), frames


def _mean(x: Tensor, present: Tensor) -> Tensor:
    """[B, D]: mean of x [B, L, D] over present frames [B, L]."""
    weight = present[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)

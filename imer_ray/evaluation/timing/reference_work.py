"""What is timed of the IMDer reference: some of its equal steps, scaled up, and all the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from imer_ray.config.components import build, option
from imer_ray.data.batch import Batch
from imer_ray.data.missing import pattern_mask
from imer_ray.evaluation.timing.stopwatch import Clock, timed
from imer_ray.models.model import EmotionModel
from imer_ray.training.seeding import seeded

REFERENCE_STEPS = 100  # Euler-Maruyama steps of IMDer as published
Work = tuple[Callable[[], Any], Callable[[], Any]]
"""The reference's work on a batch: some of its steps, and all the rest."""
Reference = Callable[[Batch, int], Work]
"""What makes the work, of a batch and a number of steps."""


def reference_clock(work: Work, num_steps: int, clock: Clock, device: torch.device) -> Callable[[], float]:
    """A function that times IMDer on a batch, in seconds: ``num_steps`` of its 100 equal steps, scaled up.

    All the rest (encoder, refiner, fusion, head) is a few percent of it. It is timed here in full, once and right after
    the steps, and counted as so many of them.
    """
    some_steps, rest = work
    some_steps()
    per_reading = REFERENCE_STEPS / num_steps + timed(rest, device, clock) / timed(some_steps, device, clock)
    return lambda: timed(some_steps, device, clock) * per_reading


def eager_reference(reference: EmotionModel, pattern: str) -> Reference:
    """The reference in PyTorch, where the modalities of ``pattern`` are available."""

    @torch.no_grad()
    def work(batch: Batch, num_steps: int) -> Work:
        assert reference.recovery is not None
        recovery = reference.recovery
        sampler = build(option("diffusion/sampler", "euler_maruyama"))
        latents, frames = reference.encoder(batch.features, batch.frames)
        available = pattern_mask(pattern).to(latents.device).expand(len(batch), -1)
        generator = seeded(0, "reference", device=latents.device)
        starts = []
        for m in (~available[0]).nonzero().flatten().tolist():
            x_T = torch.randn(latents[:, m].shape, generator=generator, device=latents.device) * recovery.sde.prior_std
            starts.append((recovery.denoiser(m, latents, available, frames), x_T))

        @torch.no_grad()
        def some_steps() -> None:
            for denoiser, x_T in starts:
                sampler.sample(denoiser, recovery.sde, x_T, num_steps, generator)

        @torch.no_grad()
        def rest() -> None:
            reference.recogniser(reference.encoder(batch.features, batch.frames)[0], available, frames)

        return some_steps, rest

    return work

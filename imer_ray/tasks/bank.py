"""Stage `bank`: recovered latents of every clip and missing pattern, drawn once, so that `recognise` never samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imer_ray.config.slices import Bank
from imer_ray.models.parts import Diffusion, Parts
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.latent_bank import BITS, ENTRIES, SUBSETS
from imer_ray.training.latents import BATCH_SIZE, Latents, folds
from imer_ray.training.loaders import load_filling, load_latents
from imer_ray.training.mapped import mapped_tensor
from imer_ray.training.seeding import seeded


@reads(Bank)
def run(config: Bank, context: Context) -> dict[str, float]:
    """Draw every recoverable modality of every train and valid clip under every pattern."""
    parts = Parts(
        encoder=config.encoder.build(),
        diffusion=None if config.diffusion is None else Diffusion.of(config.diffusion),
        imputer=None if config.imputer is None else config.imputer.build(),
    )
    draws, drawn = config.bank, 0
    sampler = None if draws.sampler is None else draws.sampler.build()  # an imputer needs none
    for split in ("train", "valid"):
        latents = load_latents(context, split)
        parted = range(draws.folds) if draws.folds and split == "train" else (None,)
        recoveries = [load_filling(parts, context, latents.num_frames, fold) for fold in parted]
        own = folds(len(latents.x), len(recoveries)).to(latents.x.device)
        shape = (draws.num_draws, len(ENTRIES), len(latents.x), *latents.x.shape[2:])
        out = mapped_tensor(context.folder / f"bank_{split}.safetensors", "recovered", shape, torch.float16)
        for k in range(len(out)):
            generators = {s: seeded(config.seed, "bank", split, s, k, device=latents.x.device) for s in SUBSETS}
            for fold, recovery in enumerate(recoveries):
                _draw(recovery, sampler, draws.num_steps or 0, latents, own == fold, generators, out[k])
        drawn += len(out) * len(latents.x)
        context.report(1 if split == "train" else 2, 2, {})
    return {"clips": float(drawn)}


def _draw(
    recovery: Any,
    sampler: Any,
    num_steps: int,
    latents: Latents,
    chosen: Tensor,
    generators: Mapping[int, torch.Generator],
    out: Tensor,
) -> None:
    """Fill the ``chosen`` [N] of [9 entries, N, L, D]; what is zero stays so where the pattern asks for something that
    was not recorded, or the modality is not recoverable. Each subset of modalities has a generator of its own."""
    device = latents.x.device
    for subset in SUBSETS:
        wanted = (BITS.to(device) & subset) > 0
        rows = (chosen & (latents.recorded | ~wanted).all(1)).nonzero().squeeze(1)
        for some in rows.split(BATCH_SIZE):
            available = wanted.expand(len(some), -1)
            filled, _ = recovery(
                latents.x[some], available, latents.frames[some], sampler, num_steps, generators[subset]
            )
            for entry, (source, m) in enumerate(ENTRIES):
                if source == subset:
                    out[entry, some.cpu()] = filled[:, m].to("cpu", torch.float16)

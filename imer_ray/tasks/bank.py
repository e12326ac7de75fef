"""Stage `bank`: recovered latents of every clip and missing pattern, drawn once, so that `recognise` never samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imer_ray.config.components import build
from imer_ray.stages.context import Context
from imer_ray.training.latent_bank import BITS, ENTRIES, SUBSETS
from imer_ray.training.latents import BATCH_SIZE, Latents
from imer_ray.training.loaders import load_filling, load_latents
from imer_ray.training.loop import seeded
from imer_ray.training.mapped import mapped_tensor


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Draw every recoverable modality of every train and valid clip under every pattern."""
    drawn = 0
    for split in ("train", "valid"):
        latents = load_latents(context, split)
        recovery = load_filling(config, context, latents.num_frames)
        shape = (config["bank"]["num_draws"], len(ENTRIES), len(latents.x), *latents.x.shape[2:])
        out = mapped_tensor(context.folder / f"bank_{split}.safetensors", "recovered", shape, torch.float16)
        for k in range(len(out)):
            _draw(config, recovery, latents, split, k, out[k])
        drawn += len(out) * len(latents.x)
        context.report(1 if split == "train" else 2, 2, {})
    return {"clips": float(drawn)}


def _draw(config: Mapping[str, Any], recovery: Any, latents: Latents, split: str, k: int, out: Tensor) -> None:
    """Fill [9 entries, N, L, D]; what is zero stays so where the pattern asks for something that was not recorded, or
    the modality is not recoverable.

    Imputers need no sampler, and so have none in the configuration.
    """
    settings = config["bank"]
    sampler, num_steps = build(settings["sampler"]) if "sampler" in settings else None, settings.get("num_steps", 0)
    device = latents.x.device
    for subset in SUBSETS:
        wanted = (BITS.to(device) & subset) > 0
        rows = (latents.recorded | ~wanted).all(1).nonzero().squeeze(1)
        generator = seeded(config["seed"], "bank", split, subset, k, device=device)
        for some in rows.split(BATCH_SIZE):
            available = wanted.expand(len(some), -1)
            filled, _ = recovery(latents.x[some], available, latents.frames[some], sampler, num_steps, generator)
            for entry, (source, m) in enumerate(ENTRIES):
                if source == subset:
                    out[entry, some.cpu()] = filled[:, m].to("cpu", torch.float16)

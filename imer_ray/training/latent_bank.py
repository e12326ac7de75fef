"""Stage `bank`: recovered latents of every clip and missing pattern, drawn once, so that `recognise` never samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from imer_ray.config.components import build
from imer_ray.data.missing import MODALITIES
from imer_ray.stages.context import Context
from imer_ray.tasks.encode import load_latents
from imer_ray.training.latents import BATCH_SIZE, Latents
from imer_ray.training.loaders import load_filling
from imer_ray.training.loop import seeded
from imer_ray.training.mapped import mapped_tensor

NUM_MODALITIES = len(MODALITIES)
BITS = torch.tensor([1, 2, 4])
SUBSETS = range(1, 7)  # non-empty strict subsets of {l, a, v} as sums of their modalities' bits
ENTRIES = [(subset, m) for subset in SUBSETS for m in range(NUM_MODALITIES) if not subset & int(BITS[m])]


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


class Bank:
    """Looks up recovered latents: ``fill(x, available, rows, draw)`` for batches of any patterns."""

    def __init__(self, recovered: Tensor) -> None:
        """``recovered`` [K draws, 9 entries, N, L, D]."""
        self.recovered = recovered
        self._entry = torch.full((8, NUM_MODALITIES), -1)
        for entry, (subset, m) in enumerate(ENTRIES):
            self._entry[subset, m] = entry

    @staticmethod
    def load(folder: Path, split: str) -> Bank:
        return Bank(load_file(folder / f"bank_{split}.safetensors")["recovered"])

    @property
    def num_draws(self) -> int:
        return len(self.recovered)

    def fill(self, x: Tensor, available: Tensor, rows: Tensor, draw: int) -> Tensor:
        """Latents [B, M, L, D] of clips ``rows`` [B] with what is not ``available`` [B, M] taken from the bank."""
        entry = self._entry[(available.cpu() * BITS).sum(1)]
        filled = x * available[..., None, None]
        for m in range(NUM_MODALITIES):
            some = (entry[:, m] >= 0).nonzero().squeeze(1)
            if len(some):
                found = self.recovered[draw, entry[some, m], rows.cpu()[some]]
                filled[some.to(x.device), m] = found.to(x.device, x.dtype)
        return filled

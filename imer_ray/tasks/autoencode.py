"""Stage `impute` of the autoencoder: trained to recover what a random pattern hides, before any recogniser.

It needs no labels, and each clip may lack what was never recorded: that is no target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from imer_ray.data.missing import PATTERNS
from imer_ray.stages.context import Context
from imer_ray.training.checkpoint import weights
from imer_ray.training.loaders import IMPUTER_FILE, build_imputer, load_latents, load_shape
from imer_ray.training.loop import fit, seeded, summary
from imer_ray.training.losses import check_learnable, recovery_loss, training_patterns


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Minimise the mean squared error of the modalities that were recorded and hidden."""
    data = {split: load_latents(context, split) for split in ("train", "valid")}
    torch.manual_seed(seeded(config["seed"], "autoencode").initial_seed())
    imputer: Any = build_imputer(config, data["train"].num_frames, load_shape(context)["recoverable"])
    imputer.to(context.device)

    def loss(module: Any, split: str, rows: Tensor, available: Tensor) -> Tensor:
        latents = data[split]
        x, frames, recorded = latents.x[rows], latents.frames[rows], latents.recorded[rows] & imputer.recoverable
        available = available.to(x.device)
        return recovery_loss(module.estimate(x, available, frames), x, recorded & ~available, frames)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        available = training_patterns(data["train"].recorded[rows].cpu(), generator)
        return {"loss": loss(imputer, "train", rows[share], available[share])}

    def validate(average: Any) -> float:
        recorded, total = (data["valid"].recorded & imputer.recoverable).cpu(), []
        for pattern in PATTERNS.values():
            available = recorded & pattern
            rows = (available.any(1) & (recorded & ~available).any(1)).nonzero().squeeze(1)
            if len(rows):
                total.append(loss(average, "valid", rows, available[rows]).mean())
        return float(torch.stack(total).mean())

    check_learnable(data["train"].recorded)
    rows, valid_rows = (
        ((data[split].recorded & imputer.recoverable).sum(1) > 1).nonzero().squeeze(1).cpu()
        for split in ("train", "valid")
    )
    validating = validate if len(valid_rows) else None
    history = fit(imputer, losses, rows, config["training"]["impute"], context, config["seed"], validating)
    if context.rank == 0:
        save_file(weights(imputer), context.folder / IMPUTER_FILE)
    return summary(history)

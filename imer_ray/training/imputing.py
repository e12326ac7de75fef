"""How an imputer learns by gradient, before any recogniser: to recover what a random pattern hides, or how modalities
are distributed.

It needs no labels, and each clip may lack what was never recorded: that is no target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imer_ray.config.experiment import LoopConfig
from imer_ray.devices import sent
from imer_ray.stages.context import Context
from imer_ray.training.latents import BATCH_SIZE, Latents
from imer_ray.training.loop import Training, fit
from imer_ray.training.losses import check_learnable, mean_over_patterns, recovery_loss, training_patterns


def train_imputer(
    imputer: Any, data: Mapping[str, Latents], loop: LoopConfig, context: Context, seed: int
) -> list[dict[str, float]]:
    """Minimise the mean squared error of the modalities that were recorded and hidden; the history of the losses.

    Args:
        imputer: with ``estimate(latents, available, frames)``, as `imer_ray.models.imputers.autoencoder` has it.
        data: latents of the splits ``train`` and ``valid``.
    """
    known = {split: latents.recorded & imputer.recoverable for split, latents in data.items()}

    def error(module: Any, split: str, rows: Tensor, available: Tensor) -> Tensor:
        rows = sent(rows, context.device)
        x, frames, recorded = data[split].x[rows], data[split].frames[rows], known[split][rows]
        available = sent(available, context.device)
        return recovery_loss(module.estimate(x, available, frames), x, recorded & ~available, frames)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        rows = sent(rows, context.device)
        available = training_patterns(data["train"].recorded[rows], generator)
        return {"loss": error(imputer, "train", rows[share], available[share])}

    def validate(average: Any) -> float:
        def loss(_: str, rows: Tensor, available: Tensor) -> Tensor:
            return error(average, "valid", rows, available)

        recorded = known["valid"].cpu()
        return mean_over_patterns(loss, recorded, lambda available: (recorded & ~available).any(1))

    check_learnable(data["train"].recorded)
    rows, valid_rows = ((known[split].sum(1) > 1).nonzero().squeeze(1).cpu() for split in ("train", "valid"))
    training = Training(
        module=imputer,
        losses=losses,
        rows=rows,
        loop=loop,
        seed=seed,
        validate=validate if len(valid_rows) else None,
    )
    return fit(training, context)


def train_density(
    imputer: Any, data: Mapping[str, Latents], loop: LoopConfig, context: Context, seed: int
) -> list[dict[str, float]]:
    """Maximise the likelihood of what was recorded, given the labels where there are any; the history of the losses.

    Args:
        imputer: with ``negative_log_likelihood(latents, recorded, frames, labels)``, as
            `imer_ray.models.imputers.flow_transfer` has it.
        data: latents of the splits ``train`` and ``valid``.
    """

    def loss(module: Any, split: str, rows: Tensor) -> Tensor:
        latents, rows = data[split], sent(rows, context.device)
        return module.negative_log_likelihood(
            latents.x[rows], latents.recorded[rows], latents.frames[rows], latents.labels[rows]
        )

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": loss(imputer, "train", rows[share])}

    def validate(average: Any) -> float:
        return float(torch.cat([loss(average, "valid", rows) for rows in valid_rows.split(BATCH_SIZE)]).mean())

    check_learnable(data["train"].recorded)
    rows, valid_rows = (
        (latents.recorded & imputer.recoverable).any(1).nonzero().squeeze(1).cpu()
        for latents in (data["train"], data["valid"])
    )
    training = Training(
        module=imputer,
        losses=losses,
        rows=rows,
        loop=loop,
        seed=seed,
        validate=validate if len(valid_rows) else None,
    )
    return fit(training, context)

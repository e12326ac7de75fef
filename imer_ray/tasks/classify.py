r"""Stage `classify`: RoHyDR's classification, on complete and on reconstructed features.

$$ (1 - \lambda_c) \, L(head(F_{gt}), y) + \lambda_c \, L(head(R(F_{lm})), y) $$

L is the task loss. As published, all but the diffusions trains: refiners, fusion, R and head, from where `fuse` left
them. The discriminator has no part in it, so a new lambda_c costs this stage alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from imer_ray.data.missing import PATTERNS
from imer_ray.models.model import Recogniser, build_recogniser
from imer_ray.stages.context import Context
from imer_ray.training.checkpoint import weights
from imer_ray.training.latent_bank import Bank
from imer_ray.training.loaders import load_latents, load_shape
from imer_ray.training.loop import fit, summary
from imer_ray.training.losses import has_label, learnable, task_loss, training_patterns


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Train on what the input ``fuse`` left; every clip is read complete and under a missing pattern of its own."""
    data = {split: load_latents(context, split) for split in ("train", "valid")}
    banks = {split: Bank.load(context.inputs["bank"], split) for split in data}
    shape = load_shape(context)
    label_kind = shape["label_kind"]
    recogniser = build_recogniser(config, True, with_reconstructor=True, recoverable=shape["recoverable"])
    recogniser.load_state_dict(load_file(context.inputs["fuse"] / "recogniser.safetensors"))
    recogniser.to(context.device)

    def task(model: Recogniser, split: str, rows: Tensor, available: Tensor, draw: int) -> Tensor:
        latents = data[split]
        available = available.to(context.device)
        filled = banks[split].fill(latents.x[rows], available, rows, draw)
        return task_loss(model(filled, available, latents.frames[rows]), latents.labels[rows], label_kind)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        recorded = data["train"].recorded[rows].cpu()
        available = training_patterns(recorded, generator, complete=False)
        draw = int(torch.randint(banks["train"].num_draws, (1,), generator=generator, device=generator.device))
        complete, incomplete = (task(recogniser, "train", rows[share], a[share], draw) for a in (recorded, available))
        return branches(complete, incomplete, config["loss"]["lambda_c"])

    def validate(average: Any) -> float:
        found = []
        for pattern in PATTERNS.values():
            available = data["valid"].recorded.cpu() & pattern
            rows = (available.any(1) & has_label(data["valid"].labels).cpu()).nonzero().squeeze(1)
            if len(rows):
                found.append(task(average, "valid", rows, available[rows], 0).mean())
        return float(torch.stack(found).mean())

    rows = learnable(data["train"].labels, data["train"].recorded).nonzero().squeeze(1).cpu()
    settings = config["training"]["classify"]
    history = fit(recogniser, losses, rows, settings, context, config["seed"], validate, compared=validate)
    if context.rank == 0:
        save_file(weights(recogniser), context.folder / "recogniser.safetensors")
    return summary(history)


def branches(complete: Tensor, incomplete: Tensor, lambda_c: float) -> dict[str, Tensor]:
    """``complete`` and ``incomplete`` task losses [B] and their weighted mean ``loss``."""
    loss = (1 - lambda_c) * complete + lambda_c * incomplete
    return {"loss": loss, "complete": complete, "incomplete": incomplete}

r"""Stage `classify`: RoHyDR's classification, on complete and on reconstructed features.

$$ (1 - \lambda_c) \, L(head(F_{gt}), y) + \lambda_c \, L(head(R(F_{lm})), y) $$

L is the task loss. As published, all but the diffusions trains: refiners, fusion, R and head, from where `fuse` left
them. The discriminator has no part in it, so a new lambda_c costs this stage alone.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from imer_ray.config.slices import Classify
from imer_ray.devices import sent
from imer_ray.models.model import Recogniser, build_recogniser
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.latent_bank import Bank
from imer_ray.training.loaders import load_latents, load_shape
from imer_ray.training.loop import summary
from imer_ray.training.losses import task_loss
from imer_ray.training.readings import Reading, load_readings
from imer_ray.training.recognising import fit_recogniser


@reads(Classify)
def run(config: Classify, context: Context) -> dict[str, float]:
    """Train on what the input ``fuse`` left; every clip is read complete and under a missing pattern of its own."""
    data = {split: load_latents(context, split) for split in ("train", "valid")}
    latents, readings = data["train"], load_readings(config, context, data)
    banks = {split: Bank.load(context.inputs["bank"], split, context.device) for split in data}
    shape = load_shape(context)
    label_kind = shape["label_kind"]
    latent_dim, fusion, refiner = config.encoder.build().latent_dim, config.fusion.build(), config.refiner.build()
    recogniser = build_recogniser(latent_dim, fusion, refiner, True, shape["recoverable"])
    recogniser.load_state_dict(load_file(context.inputs["fuse"] / "recogniser.safetensors"))
    recogniser.to(context.device)

    def task(model: Recogniser, split: str, rows: Tensor, read: Reading, draw: int | Tensor) -> Tensor:
        rows = sent(rows, context.device)
        filled = banks[split].fill(read.x, read.available, rows, draw)
        return task_loss(model(filled, read.available, read.frames), data[split].labels[rows], label_kind)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        own = sent(rows[share], context.device)
        whole = Reading(*(t[own] for t in (latents.x, latents.frames, latents.recorded)))
        some = readings.training(rows, share, generator, complete=False)
        draw = torch.randint(banks["train"].num_draws, (1,), generator=generator, device=generator.device)
        complete, incomplete = (task(recogniser, "train", own, read, draw) for read in (whole, some))
        return branches(complete, incomplete, config.lambda_c)

    def valid_loss(average: Any, _: str, rows: Tensor, read: Reading) -> Tensor:
        return task(average, "valid", rows, read, 0)

    history = fit_recogniser(recogniser, losses, valid_loss, readings, data, config.loop, config.seed, context)
    if context.rank == 0:
        save_file(weights(recogniser), context.folder / "recogniser.safetensors")
    return summary(history)


def branches(complete: Tensor, incomplete: Tensor, lambda_c: float) -> dict[str, Tensor]:
    """``complete`` and ``incomplete`` task losses [B] and their weighted mean ``loss``."""
    loss = (1 - lambda_c) * complete + lambda_c * incomplete
    return {"loss": loss, "complete": complete, "incomplete": incomplete}

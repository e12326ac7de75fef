"""Stage `recognise`: refiners, fusion and head under random missing patterns; recovered latents come from the bank.

Under missing frames (`protocol=frames`) the bank's latents are still those recovered from whole modalities.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from imer_ray.config.slices import Recognise
from imer_ray.devices import sent
from imer_ray.models.model import Recogniser
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.latent_bank import Bank
from imer_ray.training.loaders import load_latents, load_recogniser, load_shape
from imer_ray.training.loop import summary
from imer_ray.training.losses import ranking_loss, recovery_loss, task_loss
from imer_ray.training.readings import Reading, load_readings
from imer_ray.training.recognising import fit_recogniser
from imer_ray.training.teacher import Teacher


@reads(Recognise)
def run(config: Recognise, context: Context) -> dict[str, float]:
    """Train on every pattern with equal chance, or under the protocol of missing frames where there is one; without an
    input ``bank`` missing modalities stay zero."""
    data = {split: load_latents(context, split) for split in ("train", "valid")}
    readings = load_readings(config, context, data)
    banks = {split: _load_bank(context, split) for split in data}
    label_kind = load_shape(context)["label_kind"]
    refiner = None if config.refiner is None else config.refiner.build()
    parts = Parts(encoder=config.encoder.build(), fusion=config.fusion.build(), refiner=refiner)
    recogniser = load_recogniser(parts, context, config.seed)
    teacher = None if config.distillation is None else Teacher.of(recogniser, data["train"])
    num_draws = banks["train"].num_draws if banks["train"] else 1

    def forward(model: Recogniser, split: str, rows: Tensor, read: Reading, draw: int | Tensor) -> dict[str, Tensor]:
        latents, bank, available = data[split], banks[split], read.available
        rows = sent(rows, context.device)
        filled = bank.fill(read.x, available, rows, draw) if bank else read.x * available[..., None, None]
        refined = model.refine(filled, available)
        features = model.fuse(refined, available, read.frames)
        predictions = model.head(features)
        values = {"task": task_loss(predictions, latents.labels[rows], label_kind)}
        values["loss"] = values["task"]
        if bank is not None and config.recovery is not None:
            x, frames, recorded = latents.x[rows], latents.frames[rows], latents.recorded[rows]
            values["recovery"] = recovery_loss(refined, x, recorded & ~available, frames)
            values["loss"] = values["task"] + config.recovery * values["recovery"]
        if teacher is not None and config.distillation is not None and split == "train":
            whole = Reading(latents.x[rows], latents.frames[rows], latents.recorded[rows])
            hides = whole.num_frames > read.num_frames
            values["distillation"] = teacher.distillation_loss(rows, features, predictions, hides)
            values["loss"] = values["loss"] + config.distillation * values["distillation"]
        return values

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        read = readings.training(rows, share, generator)
        draw = torch.randint(num_draws, (1,), generator=generator, device=generator.device)
        values = forward(recogniser, "train", rows[share], read, draw)
        if config.ranking is not None:
            more = readings.more(read, rows, share, generator)
            richer = forward(recogniser, "train", rows[share], more, draw)["task"]
            values["ranking"] = ranking_loss(richer, values["task"]) * (more.num_frames > read.num_frames)
            values["loss"] = values["loss"] + config.ranking * values["ranking"]
        return values

    def valid_loss(average: Any, _: str, rows: Tensor, read: Reading) -> Tensor:
        return forward(average, "valid", rows, read, 0)["task"]

    history = fit_recogniser(recogniser, losses, valid_loss, readings, data, config.loop, config.seed, context)
    if context.rank == 0:
        save_file(weights(recogniser), context.folder / "recogniser.safetensors")
    return summary(history)


def _load_bank(context: Context, split: str) -> Bank | None:
    return Bank.load(context.inputs["bank"], split, context.device) if "bank" in context.inputs else None

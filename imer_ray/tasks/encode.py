"""Stage `encode`: a recogniser of complete data; its projections give the latents that everything else works on."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imer_ray.config.slices import Encode
from imer_ray.data.missing import recoverable_modalities
from imer_ray.devices import sent
from imer_ray.errors import UserError
from imer_ray.evaluation.timing.speedup import check_lengths
from imer_ray.models.model import build_encoder, build_recogniser
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.latents import BATCH_SIZE, batches, encode_split, load_dataset
from imer_ray.training.loop import Training, fit, summary
from imer_ray.training.losses import has_label, labelled, task_loss, training_patterns
from imer_ray.training.seeding import seeded


@reads(Encode)
def run(config: Encode, context: Context) -> dict[str, float]:
    """Train encoder, fusion and head on what was recorded; write weights and standardised train and valid latents."""
    dataset = load_dataset(config)
    projection, fusion = config.encoder.build(), config.fusion.build()
    check_lengths(projection, config.encoder.name, dataset.lengths)
    for split in ("train", "valid"):
        if not bool(has_label(dataset.labels(split)).any()):
            raise UserError(f"the {split} split of {config.data.name} has no clip with a label")
    torch.manual_seed(seeded(config.seed, "encode").initial_seed())
    encoder = build_encoder(projection, dataset.dims, dataset.lengths)
    recogniser = build_recogniser(projection.latent_dim, fusion)
    model = nn.ModuleDict({"encoder": encoder, "recogniser": recogniser}).to(context.device)

    def loss(module: Any, split: str, rows: Tensor, available: Tensor) -> Tensor:
        batch, available = dataset.batch(split, rows).to(context.device), sent(available, context.device)
        latents, frames = module["encoder"](batch.features, batch.frames)
        predictions = module["recogniser"](latents * available[..., None, None], available, frames)
        return task_loss(predictions, batch.labels, dataset.label_kind)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        recorded = sent(dataset.recorded("train")[rows], context.device)
        patterns = training_patterns(recorded, generator)
        dropped = torch.rand(len(rows), 1, generator=generator, device=generator.device)
        available = torch.where(dropped < config.modality_dropout, patterns, recorded)
        return {"loss": loss(model, "train", rows[share], available[share])}

    valid_rows = has_label(dataset.labels("valid")).nonzero().squeeze(1)

    def validate(average: nn.Module) -> float:
        parts = [loss(average, "valid", rows, dataset.recorded("valid")[rows]) for rows in valid_rows.split(BATCH_SIZE)]
        return float(torch.cat(parts).mean())

    rows = labelled(dataset.labels("train"), dataset.recorded("train"))
    training = Training(module=model, losses=losses, rows=rows, loop=config.loop, seed=config.seed, validate=validate)
    history = fit(training, context)
    if context.rank == 0:
        with torch.no_grad():
            # From here on latents are standardised, and the recogniser undoes it.
            encoder.standardise(batches(dataset, "train", context.device))
            recogniser.mean.copy_(encoder.mean)
            recogniser.std.copy_(encoder.std)
        save_file(weights(encoder), context.folder / "encoder.safetensors")
        save_file(weights(recogniser), context.folder / "recogniser.safetensors")
        for split in ("train", "valid"):
            encode_split(encoder, dataset, split, context.device).save(context.folder / f"latents_{split}.safetensors")
        shape = {
            **{"dims": dataset.dims, "lengths": dataset.lengths, "label_kind": dataset.label_kind},
            "recoverable": recoverable_modalities(dataset.recorded("train")),
        }
        (context.folder / "shape.json").write_text(json.dumps(shape), encoding="utf-8")
    return summary(history)

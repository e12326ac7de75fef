"""Stage `joint`: IMDer's training, diffusion and recogniser together, as published but for the defects that change
results.

Wang et al., Incomplete Multimodality-Diffused Emotion Recognition, NeurIPS 2023: every batch samples its missing
modalities with the diffusion being trained (no gradient through the sampler), refines them and classifies;
L = L_task + w (sum of score losses + reconstruction loss), w = ``loss.diffusion`` = 0.1.

Mended (methods as published in brackets):
- the condition is the clean latents [noised with the target's own noise in training, with fresh noise in sampling];
- projections come from a recogniser trained on complete data, the stage `encode` [frozen at random without a
  checkpoint];
- one availability mask per clip, drawn anew every epoch [one pattern per batch, two-missing batches first];
- losses are means over elements [sums over 32 x 48, which drown the task loss in the shared refiner];
- gradients are clipped by norm, weight decay is applied, test is not read.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imer_ray.config.slices import Joint
from imer_ray.data.missing import MODALITIES
from imer_ray.devices import sent
from imer_ray.diffusion.noise import BatchNoise
from imer_ray.models.dropout import among
from imer_ray.models.parts import Diffusion, Parts
from imer_ray.models.recovery import Sources, build_recovery, network_names
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.denoising import Denoising, denoising_step, random_drop
from imer_ray.training.loaders import load_latents, load_prior, load_recogniser, load_shape
from imer_ray.training.loop import summary
from imer_ray.training.losses import check_learnable, recovery_loss, task_loss
from imer_ray.training.readings import Reading, load_readings
from imer_ray.training.recognising import fit_recogniser
from imer_ray.training.seeding import seeded

NUM_MODALITIES = len(MODALITIES)


@reads(Joint)
def run(config: Joint, context: Context) -> dict[str, float]:
    """Train score networks, refiners, fusion and head together; the sampler runs in every step."""
    data = {split: load_latents(context, split) for split in ("train", "valid")}
    check_learnable(data["train"].recorded)
    readings = load_readings(config, context, data)
    shape = load_shape(context)
    label_kind = shape["label_kind"]
    parts = Parts(encoder=config.encoder.build(), fusion=config.fusion.build(), refiner=config.refiner.build())
    diffusion, denoising = Diffusion.of(config.diffusion), Denoising.of_training(config.diffusion)
    sampler, num_steps = config.diffusion.sampler.build(), config.diffusion.num_steps
    torch.manual_seed(seeded(config.seed, "joint").initial_seed())
    recovery = build_recovery(diffusion, parts.encoder.latent_dim, data["train"].num_frames, shape["recoverable"])
    load_prior(recovery.networks, context)
    model: Any = nn.ModuleDict({"recovery": recovery, "recogniser": load_recogniser(parts, context, config.seed)})
    model.to(context.device)

    def forward(
        module: Any, split: str, rows: Tensor, read: Reading, source: torch.Generator | Sources
    ) -> dict[str, Tensor]:
        latents, available, rows = data[split], read.available, sent(rows, context.device)
        x, frames, recorded = latents.x[rows], latents.frames[rows], latents.recorded[rows]
        filled, _ = module["recovery"](read.x, available, read.frames, sampler, num_steps, source)
        refined = module["recogniser"].refine(filled, available)
        predictions = module["recogniser"].classify(refined, available, read.frames)
        return {
            "task": task_loss(predictions, latents.labels[rows], label_kind),
            "recovery": recovery_loss(refined, x, recorded & ~available, frames),
        }

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        latents, count = data["train"], len(rows) * NUM_MODALITIES
        read = readings.training(rows, share, generator)
        # What is missing differs by share, so that all is drawn for every modality of every clip.
        t = denoising.time_sampling.sample(denoising.sde, count, generator).view(-1, NUM_MODALITIES)[share]
        eps = torch.randn((len(rows), *latents.x.shape[1:]), generator=generator, device=generator.device)[share]
        dropped = random_drop(count, denoising.condition_dropout, generator)
        hidden = None if dropped is None else dropped.view(-1, NUM_MODALITIES)[share]
        noise = batch_noise(generator, len(rows), share)
        rows, available = sent(rows[share], context.device), read.available
        values = forward(model, "train", rows, read, noise)
        x = torch.where(available[..., None, None], read.x, latents.x[rows])
        frames = torch.where(available[..., None], read.frames, latents.frames[rows])
        recorded = latents.recorded[rows]
        score = torch.zeros(len(rows), device=x.device)
        for network, some, target in recovery.calls(recorded & ~available):
            without = None if hidden is None else hidden[some, target]
            given = (x[some], available[some], frames[some], target, t[some, target], eps[some, target], without)
            with among((some + share.start) * NUM_MODALITIES + target, count):
                score = score.index_add(0, some, denoising_step(network, denoising, *given))
        values["score"] = score
        values["loss"] = values["task"] + config.weight * (score + values["recovery"])
        return values

    def valid_loss(average: Any, name: str, rows: Tensor, read: Reading) -> Tensor:
        generator = seeded(config.seed, "valid", name, device=context.device)
        return forward(average, "valid", rows, read, generator)["task"]

    history = fit_recogniser(model, losses, valid_loss, readings, data, config.loop, config.seed, context)
    if context.rank == 0:
        for network, name in zip(recovery.networks, network_names(diffusion.sharing), strict=True):
            save_file(weights(network), context.folder / f"network_{name}.safetensors")
        save_file(weights(model["recogniser"]), context.folder / "recogniser.safetensors")
    return summary(history)


def batch_noise(generator: torch.Generator, num_clips: int, share: slice) -> Sources:
    """The noise of clips of a share of ``num_clips``, the same whichever of the others are missing something."""
    seed, device = generator.initial_seed(), generator.device

    def noise(rows: Tensor, target: int | Tensor) -> BatchNoise:
        places = rows + share.start
        if isinstance(target, Tensor):
            of_all = seeded(seed, "draw", "shared", device=device)
            return BatchNoise(of_all, num_clips * NUM_MODALITIES, places * NUM_MODALITIES + target)
        return BatchNoise(seeded(seed, "draw", target, device=device), num_clips, places)

    return noise

"""Stage `fuse`: RoHyDR's adversarial recovery of fused features, F_lm of recovered latents to F_gt of complete ones.

F_gt comes once, at the start, from the fusion that `encode` left: it stands still, and nothing drags it to F_lm. The
generator (the refiners that `recover` trained, a copy of the fusion, the marks of what is missing and the reconstructor
R) and the discriminator D are the two players, each with an optimiser of its own; see `imer_ray.models.adversary`. The
head waits for `classify`. Complete is what was recorded; every clip has a missing pattern of its own.

The refiners learn from drawn latents here: `recover` shows them the network's estimates at all times, but no draw, and
draws of a missing modality spread where its best estimate does not.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imer_ray.config.slices import Fuse
from imer_ray.devices import sent
from imer_ray.models.adversary import Discriminator, Reconstructor, discriminator_loss, generator_loss
from imer_ray.models.model import Recogniser
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.latent_bank import Bank
from imer_ray.training.latents import BATCH_SIZE, Latents
from imer_ray.training.loaders import load_latents, load_recogniser, load_refiners
from imer_ray.training.loop import Training, fit, summary
from imer_ray.training.losses import mean_over_patterns, training_patterns
from imer_ray.training.seeding import seeded

SPLITS = ("train", "valid")


@reads(Fuse)
def run(config: Fuse, context: Context) -> dict[str, float]:
    """Train the generator against D; write the whole recogniser, without D."""
    data = {split: load_latents(context, split) for split in SPLITS}
    banks = {split: Bank.load(context.inputs["bank"], split, context.device) for split in SPLITS}
    parts = Parts(encoder=config.encoder.build(), fusion=config.fusion.build(), refiner=config.refiner.build())
    model = build_players(parts, context, config.seed)
    complete = {split: complete_features(model["recogniser"].eval(), data[split], banks[split]) for split in SPLITS}

    def forward(module: Any, split: str, rows: Tensor, available: Tensor, draw: int | Tensor) -> dict[str, Tensor]:
        latents, available, rows = data[split], sent(available, context.device), sent(rows, context.device)
        filled = banks[split].fill(latents.x[rows], available, rows, draw)
        F_gt = complete[split][draw, rows]
        return fusion_step(module, filled, available, latents.frames[rows], F_gt, config.lambda_al)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        rows = sent(rows, context.device)
        available = training_patterns(data["train"].recorded[rows], generator, complete=False)[share]
        draw = torch.randint(banks["train"].num_draws, (1,), generator=generator, device=generator.device)
        return forward(model, "train", rows[share], available, draw)

    def validate(average: Any) -> float:
        def loss(_: str, rows: Tensor, available: Tensor) -> Tensor:
            return forward(average, "valid", rows, available, 0)["reconstruction"]

        return mean_over_patterns(loss, data["valid"].recorded, lambda available: ~available.all(1))

    training = Training(
        module=model,
        losses=losses,
        rows=data["train"].recorded.any(1).nonzero().squeeze(1).cpu(),
        loop=config.loop,
        seed=config.seed,
        validate=validate,
        groups=groups_of(model),
    )
    history = fit(training, context)
    if context.rank == 0:
        save_file(weights(model["recogniser"]), context.folder / "recogniser.safetensors")
    return summary(history)


def fusion_step(
    model: Any, filled: Tensor, available: Tensor, frames: Tensor, F_gt: Tensor, lambda_al: float
) -> dict[str, Tensor]:
    """The losses [B] of both players; D's fakes are R(F_lm), the very features that G reconstructs.

    Args:
        filled: latents [B, M, L, D] with drawn ones, to be refined, where not ``available`` [B, M].
        F_gt: features [B, F] of complete data.
    """
    recogniser, discriminator = model["recogniser"], model["discriminator"]
    F_lm = recogniser.fuse(recogniser.refine(filled, available), available, frames)
    reconstructed = recogniser.reconstruct(F_lm, available)
    values = generator_loss(discriminator, reconstructed, F_gt, lambda_al)
    return values | {"discriminator_loss": discriminator_loss(discriminator, reconstructed, F_gt)}


def build_players(parts: Parts, context: Context, seed: int) -> Any:
    """``recogniser`` and ``discriminator``; of the recogniser, all but the head trains."""
    recogniser: Any = load_recogniser(parts, context, seed)
    recogniser.refiners = load_refiners(parts, context)
    torch.manual_seed(seeded(seed, "fuse").initial_seed())
    num_features = recogniser.head.num_features
    recogniser.reconstructor = Reconstructor(num_features)
    recogniser.head.requires_grad_(False)
    model = nn.ModuleDict({"recogniser": recogniser, "discriminator": Discriminator(num_features)})
    return model.to(context.device)


def groups_of(model: Any) -> dict[str, list[nn.Parameter]]:
    """Who minimises what: the generator's loss is the stage's."""
    return {
        "loss": [p for p in model["recogniser"].parameters() if p.requires_grad],
        "discriminator_loss": list(model["discriminator"].parameters()),
    }


@torch.no_grad()
def complete_features(recogniser: Recogniser, latents: Latents, bank: Bank) -> Tensor:
    """F_gt [K draws, N, F] of every clip with all that it recorded; what it never recorded comes from the bank."""
    parts = []
    for draw in range(bank.num_draws):
        for rows in torch.arange(len(latents.x), device=latents.x.device).split(BATCH_SIZE):
            recorded = latents.recorded[rows]
            filled = bank.fill(latents.x[rows], recorded, rows, draw)
            filled = recogniser.refine(filled, recorded)
            parts.append(recogniser.fuse(filled, recorded, latents.frames[rows]))
    return torch.cat(parts).view(bank.num_draws, len(latents.x), -1)

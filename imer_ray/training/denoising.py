"""How a diffusion learns to denoise latents given any subset of the other modalities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.config.slices import JointDiffusion, LearntDiffusion, Pretrain, TrainedDiffusion
from imer_ray.data.missing import MODALITIES
from imer_ray.devices import sent
from imer_ray.diffusion.loss import denoising_loss
from imer_ray.models.parts import DiffusionNetwork, output_of
from imer_ray.models.prior_network import PriorNetwork
from imer_ray.models.recovery import condition
from imer_ray.stages.context import Context
from imer_ray.training.loaders import load_latents, load_prior
from imer_ray.training.loop import Training, fit
from imer_ray.training.losses import check_learnable
from imer_ray.training.seeding import seeded

OTHERS = torch.tensor([[1, 2], [0, 2], [0, 1]])  # of each modality


VALID_ROWS = 1024  # validated at once: MOSEI's thousands would take more memory than all else


@dataclass(frozen=True, kw_only=True)
class Process:
    """A diffusion process, what a network of it gives, and the share of the clips that it learns without condition."""

    sde: Any
    parametrization: str
    sigma_data: float
    condition_dropout: float

    @classmethod
    def of(cls, settings: LearntDiffusion) -> Process:
        return cls(
            sde=settings.sde.build(),
            parametrization=output_of(settings.backbone, settings.parametrization),
            sigma_data=settings.sigma_data,
            condition_dropout=settings.condition_dropout,
        )


@dataclass(frozen=True, kw_only=True)
class Denoising(Process):
    """What is asked of a network of the process: at which times, and how much each counts."""

    weighting: Any
    time_sampling: Any

    @classmethod
    def of_training(cls, settings: TrainedDiffusion | JointDiffusion) -> Denoising:
        return cls(
            sde=settings.sde.build(),
            parametrization=output_of(settings.backbone, settings.parametrization),
            sigma_data=settings.sigma_data,
            condition_dropout=settings.condition_dropout,
            weighting=settings.weighting.build(),
            time_sampling=settings.time_sampling.build(),
        )


def targets_of(modality: str) -> list[int]:
    """The modalities that a stage's network recovers: one, or all with ``shared``."""
    return [MODALITIES.index(modality)] if modality in MODALITIES else list(range(len(MODALITIES)))


def train(
    config: Pretrain,
    latent_dim: int,
    context: Context,
    model_with: Callable[[nn.Module], nn.Module],
    step: Callable[..., dict[str, Tensor]],
) -> tuple[Any, list[dict[str, float]]]:
    """Train a network and what ``model_with`` puts beside it; ``step`` gives the losses from the model and then what
    `denoising_step` takes after the network.

    A modality that no training clip recorded together with another one has nothing to train on, and a prior without a
    network nothing to train: no epoch is done. On a prior the network never ends worse on validation clips than the
    prior alone.
    """
    name, targets = config.modality, targets_of(config.modality)
    shared = len(targets) > 1
    data = {"train": load_latents(context, "train").without(config.fold), "valid": load_latents(context, "valid")}
    denoising = Denoising.of_training(config.diffusion)
    torch.manual_seed(seeded(config.seed, "pretrain", name if shared else targets[0]).initial_seed())
    built = DiffusionNetwork.of(config.diffusion)
    network = built.build(latent_dim, data["train"].num_frames, None if shared else targets[0])
    load_prior([network], context)
    model = model_with(network).to(context.device)

    def forward(
        module: nn.Module, split: str, pairs: Tensor, share: slice, generator: torch.Generator
    ) -> dict[str, Tensor]:
        latents, pairs = data[split], sent(pairs, context.device)
        rows, of_rows = pairs // len(MODALITIES), pairs % len(MODALITIES)
        shape = (len(rows), *latents.x.shape[2:])
        t = denoising.time_sampling.sample(denoising.sde, len(rows), generator)[share]
        eps = torch.randn(shape, generator=generator, device=context.device)[share]
        target = of_rows if shared else targets[0]
        available = random_condition(latents.recorded[rows], target, generator)[share]
        dropped = random_drop(len(rows), denoising.condition_dropout, generator)
        rows, dropped = rows[share], None if dropped is None else dropped[share]
        target = of_rows[share] if shared else targets[0]
        return step(module, denoising, latents.x[rows], available, latents.frames[rows], target, t, eps, dropped)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        return forward(model, "train", rows, share, generator)

    valid_rows = usable_pairs(data["valid"].recorded, targets)

    def validate(average: nn.Module) -> float:
        # The same times, noise and conditions at every epoch, so that epochs differ by the network alone.
        rows, found = valid_rows.repeat(max(1, 512 // len(valid_rows))), []
        for start in range(0, len(rows), VALID_ROWS):
            generator = seeded(config.seed, "valid", device=context.device)
            found.append(forward(average, "valid", rows, slice(start, start + VALID_ROWS), generator)["loss"])
        return float(torch.cat(found).mean())

    rows = usable_pairs(data["train"].recorded, targets).cpu()
    check_learnable(data["train"].recorded)
    if not len(rows) or not any(True for _ in model.parameters()):
        return model.eval(), []
    training = Training(
        module=model,
        losses=losses,
        rows=rows,
        loop=config.loop,
        seed=config.seed,
        validate=validate if len(valid_rows) else None,
    )
    history = fit(training, context)
    if len(valid_rows):
        keep_the_better(network, lambda: validate(model))
    return model, history


@torch.no_grad()
def keep_the_better(network: nn.Module, validate: Callable[[], float]) -> None:
    """Of a network on a prior and the prior alone, leave the one that the validation clips like better."""
    if not isinstance(network, PriorNetwork) or not network.has_network:
        return
    trained, gain = validate(), network.gain.clone()
    network.reset()
    if validate() > trained:
        network.gain.copy_(gain)


def denoising_step(
    network: Any,
    denoising: Denoising,
    latents: Tensor,
    available: Tensor,
    frames: Tensor,
    target: int | Tensor,
    t: Tensor,
    eps: Tensor,
    dropped: Tensor | None = None,
) -> Tensor:
    """Denoising loss [B] of a modality of ``latents`` [B, M, L, D] at times t [B] with noise eps [B, L, D].

    The modality is one for all rows, or ``target`` [B] for a shared network; rows that are ``dropped`` [B] see no
    condition.
    """
    cache = condition(network, latents, available, frames, target, dropped)
    return denoising_loss(
        lambda x, time: network(x, time, cache),
        denoising.sde,
        denoising.parametrization,
        of_target(latents, target),
        t,
        eps,
        of_target(frames, target),
        scale_input=network.scale_input,
        weighting=denoising.weighting,
        sigma_data=denoising.sigma_data,
    )


def of_target(x: Tensor, target: int | Tensor) -> Tensor:
    """[B, ...]: the modality ``target`` of x [B, M, ...], one for all rows or [B]."""
    return x[torch.arange(len(x), device=x.device) if isinstance(target, Tensor) else slice(None), target]


def usable_rows(recorded: Tensor, m: int) -> Tensor:
    """Clips with modality m and at least one other recorded."""
    return (recorded[:, m] & (recorded.sum(1) > 1)).nonzero().squeeze(1)


def usable_pairs(recorded: Tensor, targets: Sequence[int]) -> Tensor:
    """Clips and the modality of them to be learned, as clip * M + modality, in order of clips."""
    pairs = [usable_rows(recorded, m) * len(MODALITIES) + m for m in targets]
    return torch.cat(pairs).sort().values


def random_condition(recorded: Tensor, target: int | Tensor, generator: torch.Generator) -> Tensor:
    """[B, M]: one modality beside the target (one for all, or [B]) or both, as far as recorded, with equal chance for
    each missing pattern."""
    choice = torch.randint(3, (len(recorded),), generator=generator, device=generator.device).to(recorded.device)
    others = sent(OTHERS, recorded.device)[target].expand(len(recorded), 2)
    a, b = recorded.gather(1, others).unbind(1)
    seen = torch.stack([a & ((choice != 1) | ~b), b & ((choice != 0) | ~a)], dim=1)
    return torch.zeros_like(recorded).scatter(1, others, seen)


def random_drop(num_rows: int, share: float, generator: torch.Generator) -> Tensor | None:
    """[B], True for rows that shall see no condition, each with chance ``share``; None if that is 0."""
    if share == 0:
        return None
    return torch.rand(num_rows, generator=generator, device=generator.device) < share

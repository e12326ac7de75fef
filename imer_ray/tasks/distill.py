"""Stage `distill[m]`: a student of modality m's diffusion (or of the shared one) that needs one to four evaluations.

The student is a network like the teacher's, on the same process and with the same parametrization, so that every
sampler takes it in the teacher's place. One step of any deterministic sampler gives its sample. With more steps

- ``reflow``: DDIM (eta = 0) and DPM-Solver++ follow its paths exactly;
- ``consistency``: noise has to be put back between steps (Song et al., 2023, algorithm 1), which DDIM with eta = 1
  does, the more fully the longer the step. eta = 0 would take what is no posterior mean for one.

Both learn the unguided teacher. With ``condition_dropout`` the student sees as many clips without their condition as
the teacher did, so that guidance remains possible.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from imer_ray.config.slices import Distill
from imer_ray.data.missing import MODALITIES
from imer_ray.devices import sent
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.distillation import consistency_loss, masked_error, reflow_noise
from imer_ray.diffusion.loss import denoising_loss
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.time_grid import time_grid
from imer_ray.diffusion.time_sampling import Uniform
from imer_ray.models.parts import DiffusionNetwork
from imer_ray.models.recovery import condition
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.denoising import Process, random_condition, random_drop, targets_of, usable_pairs
from imer_ray.training.latents import BATCH_SIZE, Latents
from imer_ray.training.loaders import load_latents
from imer_ray.training.loop import Losses, Training, fit, summary
from imer_ray.training.seeding import seeded

SPACING = "angle"  # of the teacher's steps, as the samplers have it by default


@reads(Distill)
def run(config: Distill, context: Context) -> dict[str, float]:
    """Train a student of the input ``teacher``, starting from its weights.

    ``valid_loss`` is the mean squared difference between the student's one-step sample and where the teacher's ODE
    leads from the same noise, on validation clips; ``teacher_valid_loss`` is that of the teacher's one-step sample.
    """
    name, targets = config.modality, targets_of(config.modality)
    process, latent_dim = Process.of(config.diffusion), config.encoder.build().latent_dim
    train, valid = (Clips.of(load_latents(context, split), targets) for split in ("train", "valid"))
    target = targets[0] if len(targets) == 1 else None
    teacher: Any = DiffusionNetwork.of(config.diffusion).build(latent_dim, train.latents.num_frames, target)
    teacher.load_state_dict(load_file(context.inputs["teacher"] / f"network_{name}.safetensors"))
    if not len(train):  # the teacher has learnt nothing, either
        if context.rank == 0:
            save_file(weights(teacher), context.folder / f"network_{name}.safetensors")
        return summary([])
    teacher = teacher.to(context.device)
    module = nn.ModuleDict({"student": copy.deepcopy(teacher)})
    teacher.eval().requires_grad_(False)
    method = {"reflow": reflow_losses, "consistency": consistency_losses}[config.distill.method]
    losses = method(config, process, module, teacher, train)

    validate, found = None, {}
    if len(valid):
        generator = seeded(config.seed, "distill", "valid", device=context.device)
        ends = draw_ends(teacher, process, config.distill.num_steps, valid, generator)

        def validate(average: Any) -> float:
            return _one_step_error(average["student"], process, valid, ends)

        found = {"teacher_valid_loss": validate({"student": teacher})}
    training = Training(
        module=module,
        losses=losses,
        rows=torch.arange(len(train)),
        loop=config.loop,
        seed=config.seed,
        validate=validate,
    )
    history = fit(training, context)
    if context.rank == 0:
        save_file(weights(module["student"]), context.folder / f"network_{name}.safetensors")
    return summary(history) | found


@dataclass(frozen=True)
class Clips:
    """Clips ``rows`` [N] of ``latents`` and which modality of each is recovered, ``targets`` [N]."""

    latents: Latents
    rows: Tensor
    targets: Tensor

    @staticmethod
    def of(latents: Latents, targets: Sequence[int]) -> Clips:
        """Every clip once for each of the targets that it has recorded together with another modality."""
        pairs = usable_pairs(latents.recorded, targets)
        return Clips(latents, pairs // len(MODALITIES), pairs % len(MODALITIES))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: Tensor | slice) -> Clips:
        return Clips(self.latents, self.rows[positions], self.targets[positions])

    @property
    def x_0(self) -> Tensor:
        return self.latents.x[self.rows, self.targets]

    @property
    def frames(self) -> Tensor:
        return self.latents.frames[self.rows, self.targets]

    def draw(self, process: Process, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random condition of each: what is available [N, M], and which see nothing of it [N]."""
        available = random_condition(self.latents.recorded[self.rows], self.targets, generator)
        dropped = random_drop(len(self), process.condition_dropout, generator)
        return available, torch.zeros_like(available[:, 0]) if dropped is None else dropped


def denoiser(network: Any, process: Process, clips: Clips, available: Tensor, dropped: Tensor) -> Denoiser:
    """A network's denoiser of the clips' targets, given what is ``available`` [N, M] and not ``dropped`` [N]."""
    latents, rows = clips.latents, clips.rows
    cache = condition(network, latents.x[rows], available, latents.frames[rows], clips.targets, dropped)
    return Denoiser(
        lambda x, t: network(x, t, cache),
        process.sde,
        process.parametrization,
        network.scale_input,
        process.sigma_data,
    )


@dataclass(frozen=True)
class Ends:
    """Both ends of the teacher's ODE, x_T and x_0 [N, L, D] (half precision), and its condition."""

    x_T: Tensor
    x_0: Tensor
    available: Tensor
    dropped: Tensor

    def __getitem__(self, positions: Tensor) -> Ends:
        return Ends(*(value[positions] for value in vars(self).values()))


@torch.no_grad()
def draw_ends(teacher: nn.Module, process: Process, num_steps: int, clips: Clips, generator: torch.Generator) -> Ends:
    """Where the teacher's ODE leads from fresh noise, once for each clip under a random condition."""
    available, dropped = clips.draw(process, generator)
    x_T = initial_noise(process.sde, clips.x_0.shape, generator, clips.rows.device)
    x_0 = []
    for some in torch.arange(len(clips), device=clips.rows.device).split(BATCH_SIZE):
        teach = denoiser(teacher, process, clips[some], available[some], dropped[some])
        x_0.append(Heun(SPACING).sample(teach, process.sde, x_T[some], num_steps, generator))
    return Ends(x_T.half(), torch.cat(x_0).half(), available, dropped)


def reflow_losses(config: Distill, process: Process, module: Any, teacher: nn.Module, clips: Clips) -> Losses:
    """The denoising loss on the teacher's pairs of noise and sample.

    They are drawn once (by every worker, all the same): anew for each epoch they would cost many times the training.
    """
    sde, num_steps, num_draws, device = (
        process.sde,
        config.distill.num_steps,
        config.distill.num_draws,
        clips.rows.device,
    )
    assert num_draws is not None
    generators = (seeded(config.seed, "distill", k, device=device) for k in range(num_draws))
    drawn = [draw_ends(teacher, process, num_steps, clips, generator) for generator in generators]
    all_ends = Ends(*(torch.cat(values) for values in zip(*(vars(ends).values() for ends in drawn), strict=True)))

    def losses(positions: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        t = Uniform().sample(sde, len(positions), generator)[share]
        draw = torch.randint(num_draws, (len(positions),), generator=generator, device=generator.device)[share]
        positions = sent(positions[share], device)
        some, ends = clips[positions], all_ends[draw * len(clips) + positions]
        student = denoiser(module["student"], process, some, ends.available, ends.dropped)
        x_0 = ends.x_0.float()
        loss = denoising_loss(
            student.network,
            sde,
            student.parametrization,
            x_0,
            t,
            reflow_noise(sde, ends.x_T.float(), x_0),
            some.frames,
            scale_input=student.scale_input,
            sigma_data=student.sigma_data,
        )
        return {"loss": loss}

    return losses


def consistency_losses(config: Distill, process: Process, module: Any, teacher: nn.Module, clips: Clips) -> Losses:
    """The consistency loss on noised clips; the target's weights travel in the module, and so in its checkpoint."""
    sde, decay = process.sde, config.distill.target_decay
    assert decay is not None
    times = time_grid(sde, config.distill.num_steps, SPACING).to(clips.rows.device, torch.float32)
    module["target"] = copy.deepcopy(module["student"]).requires_grad_(False)

    def losses(positions: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        _follow(module["target"], module["student"], decay)
        some = clips[sent(positions, clips.rows.device)]
        step = torch.randint(len(times) - 1, (len(some),), generator=generator, device=generator.device)[share]
        eps = torch.randn(some.x_0.shape, generator=generator, device=generator.device)[share]
        available, dropped = (given[share] for given in some.draw(process, generator))
        some = some[share]
        student, target, true = (
            denoiser(network, process, some, available, dropped)
            for network in (module["student"], module["target"], teacher)
        )
        return {"loss": consistency_loss(student, target, true, sde, times, step, some.x_0, eps, some.frames)}

    return losses


@torch.no_grad()
def _follow(target: nn.Module, student: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(target.parameters()), list(student.parameters()), 1 - decay)
    for held, new in zip(target.buffers(), student.buffers(), strict=True):
        held.copy_(new)


@torch.no_grad()
def _one_step_error(network: nn.Module, process: Process, clips: Clips, ends: Ends) -> float:
    """Mean squared difference of D(x_T, t_max) and the teacher's x_0."""
    total, t_max = 0.0, process.sde.t_max
    for some in torch.arange(len(clips), device=clips.rows.device).split(BATCH_SIZE):
        of, part = clips[some], ends[some]
        x_0 = denoiser(network, process, of, part.available, part.dropped)(part.x_T.float(), t_max)
        total += float(masked_error(x_0, part.x_0.float(), of.frames).sum())
    return total / len(clips)

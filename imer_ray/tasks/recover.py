r"""Stage `recover[m]`: RoHyDR's unimodal recovery, the diffusion and the refiner of one modality together.

$$ L_1 = \frac{L_{diff} + \lambda_g L_{rec}}{1 + \lambda_g} $$

L_diff is the denoising loss of `pretrain`, L_rec the mean squared error of the refined latents. What is refined is
D(x_t, t), the network's own estimate in the very call that L_diff judges, so L_rec costs a refiner and no sampling, and
its gradient reaches the network through one call. That is an honest stand-in: a sampler's result is such an estimate
too, the last one of its walk, at a time that training draws. Published is a refiner of 50 DDIM steps, with autograd
through all of them, in every batch.

Every clip has its own time, noise and condition, drawn as `pretrain` draws them. Published are 50 sampling steps among
the cleanest twentieth of the noise levels that were trained; here training and samplers share one process.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imer_ray.config.slices import Recover
from imer_ray.data.missing import MODALITIES
from imer_ray.devices import is_gpu
from imer_ray.diffusion.denoiser import Denoiser, expand_time
from imer_ray.models.model import build_refiners
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.denoising import Denoising, denoising_step, of_target, targets_of, train
from imer_ray.training.loaders import refiner_file
from imer_ray.training.loop import summary
from imer_ray.training.losses import recovery_loss


@reads(Recover)
def run(config: Recover, context: Context) -> dict[str, float]:
    """Train the network and the refiners of ``config.modality`` given any subset of the other modalities."""
    names = [MODALITIES[m] for m in targets_of(config.modality)]

    latent_dim, refiner = config.encoder.build().latent_dim, config.refiner.build()

    def with_refiners(network: nn.Module) -> nn.Module:
        built = dict(zip(MODALITIES, build_refiners(refiner, latent_dim), strict=True))
        return nn.ModuleDict({"network": network, "refiners": nn.ModuleDict({name: built[name] for name in names})})

    model, history = train(
        config, latent_dim, context, with_refiners, functools.partial(recovery_step, config.lambda_g)
    )
    if context.rank == 0:
        save_file(weights(model["network"]), context.folder / f"network_{config.modality}.safetensors")
        for name in names:
            save_file(weights(model["refiners"][name]), context.folder / refiner_file(name))
    return summary(history)


def recovery_step(
    lambda_g: float,
    model: Any,
    denoising: Denoising,
    latents: Tensor,
    available: Tensor,
    frames: Tensor,
    target: int | Tensor,
    t: Tensor,
    eps: Tensor,
    dropped: Tensor | None = None,
) -> dict[str, Tensor]:
    """``diffusion``, ``recovery`` and their weighted mean ``loss`` [B]; arguments as `denoising_step` has them.

    ``model`` has a ``network`` and ``refiners`` {modality: refiner}.
    """
    network, sde = Overheard(model["network"]), denoising.sde
    diffusion = denoising_step(network, denoising, latents, available, frames, target, t, eps, dropped)
    x_0, present = of_target(latents, target), of_target(frames, target)
    alpha_t, sigma_t, _ = expand_time(sde, x_0, t)
    denoiser = Denoiser(network.again, sde, denoising.parametrization, network.scale_input, denoising.sigma_data)
    refined = _refined(model["refiners"], denoiser(alpha_t * x_0 + sigma_t * eps, t), target)
    wanted = torch.ones(len(x_0), 1, dtype=torch.bool, device=x_0.device)
    recovery = recovery_loss(refined[:, None], x_0[:, None], wanted, present[:, None])
    return {"loss": (diffusion + lambda_g * recovery) / (1 + lambda_g), "diffusion": diffusion, "recovery": recovery}


class Overheard:
    """A score network whose last output can be had once more, without another evaluation."""

    def __init__(self, network: Any) -> None:
        self.network, self.condition, self.scale_input = network, network.condition, network.scale_input
        self.output: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor, cache: Any) -> Tensor:
        self.output = self.network(x, t, cache)
        return self.output

    def again(self, x: Tensor, t: Tensor) -> Tensor:
        """The last output, for the same x and t."""
        assert self.output is not None
        return self.output


def _refined(refiners: Any, x: Tensor, target: int | Tensor) -> Tensor:
    """x [B, L, D], each row through the refiner of its target."""
    if isinstance(target, int):
        return refiners[MODALITIES[target]](x)
    refined = x
    for m, name in enumerate(MODALITIES):
        if is_gpu(x.device):  # which rows there are is not asked: an answer takes longer than the others' rows
            refined = torch.where((target == m)[:, None, None], refiners[name](x).to(x.dtype), refined)
            continue
        rows = (target == m).nonzero().squeeze(1)
        if len(rows):
            refined = refined.index_copy(0, rows, refiners[name](x[rows]).to(x.dtype))
    return refined

"""Whether a GPU computes what the CPU computes, part of ``gpu.py``: processes, samplers, and models of every backbone.

All noise is drawn on the CPU and moved, so that both have the same numbers. cuDNN does not use TF32 meanwhile: it would
hide an error of a thousandth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gpu_report import Check, judged
from inference import random_batch, untrained
from torch import Tensor, nn

from imer_ray.config.components import build, option, options
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.loss import denoising_loss
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.sde import SDE
from imer_ray.evaluation.predict import Inference, predictor
from imer_ray.testing.samplers import ORACLE, processes
from imer_ray.training.seeding import seeded

NUM_STEPS = 20
# Single precision against double moves a sample of these processes by as much (`imer_ray.testing.SamplerContract`).
OF_SAMPLES = 2e-3
# Of the largest value: sums of up to some thousand numbers in another order.
OF_VALUES = 1e-4
# Of the largest gradient; through all layers, and back.
OF_GRADIENTS = 1e-3
AVAILABLE = "av"
SIZE, FRAMES, SCALE = 8, 12, 0.2


def backbones() -> list[str]:
    """All that learn something."""
    return [name for name in options("diffusion/backbone") if name != "none"]


def precise(check: Callable[..., dict[str, Any]], *given: Any) -> Check:
    """The check without TF32."""

    def without() -> dict[str, Any]:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return check(*given)

    return without


def of_processes(device: str) -> dict[str, Check]:
    """Process -> its training loss of a perfect network's neighbour, of clips at times and with noise of their own."""
    return {name: precise(_process, sde, device) for name, sde in processes().items()}


def of_samplers(device: str) -> dict[str, Check]:
    """Sampler -> the largest difference of its samples, of all processes."""
    return {name: precise(_sampler, name, device) for name in options("diffusion/sampler")}


def of_backbones(device: str) -> dict[str, Check]:
    """Backbone -> predictions of a whole model with it, and the gradients of its own output."""
    checks: dict[str, Check] = {}
    for name in backbones():
        checks[f"{name} predictions"] = precise(_predictions, name, device)
        checks[f"{name} gradients"] = precise(_gradients, name, device)
    return checks


def relative(ours: Tensor, theirs: Tensor, least: float = 1e-12) -> float:
    """The largest difference of two tensors over the largest value, or ``least`` if that is more; infinite where one
    has a number and one has none.

    Both are moved to the CPU, in double precision.
    """
    a, b = (t.detach().cpu().double() for t in (ours, theirs))
    if not torch.equal(a.isnan(), b.isnan()) or a.shape != b.shape:
        return float("inf")
    a, b = a.nan_to_num(), b.nan_to_num()
    largest = float(a.abs().max()) if a.numel() else 0.0
    return float((a - b).abs().max()) / max(largest, least) if a.numel() else 0.0


def _oracle(device: str) -> GaussianMixture:
    return GaussianMixture(*(t.to(device) for t in (ORACLE.weights, ORACLE.means, ORACLE.covariances)))


def _process(sde: SDE, device: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(64, 4, 2, generator=generator) for _ in range(2))
    t = torch.rand(64, generator=generator) * (sde.t_max - sde.t_min) + sde.t_min
    losses = []
    for where in ("cpu", device):
        network = _oracle(where).network(sde, "v")
        inputs = (x_0.to(where), t.to(where), eps.to(where), torch.ones(64, 4, dtype=torch.bool, device=where))
        losses.append(denoising_loss(network, sde, "v", *inputs))
    return judged(relative(*losses), OF_GRADIENTS)


def _sampler(name: str, device: str) -> dict[str, Any]:
    sampler, worst = build(option("diffusion/sampler", name)), (0.0, "")
    for process, sde in processes().items():
        samples = []
        for where in ("cpu", device):
            generator = torch.Generator().manual_seed(0)  # which samplers may have elsewhere than the sample
            x_T = initial_noise(sde, (16, 4, 2), generator, "cpu").to(where)
            denoiser = Denoiser(_oracle(where).network(sde, "v"), sde, "v")
            samples.append(sampler.sample(denoiser, sde, x_T, NUM_STEPS, generator).cpu())
        worst = max(worst, (float((samples[0] - samples[1]).abs().max()), process))
    return {**judged(worst[0], OF_SAMPLES), "process": worst[1]}


def _randomised(module: nn.Module) -> Any:
    """The same with noise on every parameter, those that begin as zeros, too."""
    generator = seeded(0, "randomise")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += SCALE * torch.randn(parameter.shape, generator=generator)
    return module


def _model(name: str) -> tuple[ExperimentConfig, Any, Any]:
    config = compose(ExperimentConfig, "experiment", [f"diffusion.backbone={name}"])
    dims = config.data.build().load().dims
    lengths = dict.fromkeys(dims, FRAMES)
    return config, _randomised(untrained(config, dims, lengths)), random_batch(SIZE, dims, lengths)


def _predictions(name: str, device: str) -> dict[str, Any]:
    config, model, batch = _model(name)
    inference, answers = Inference.of(config, config.diffusion), []
    for where in ("cpu", device):
        answers.append(predictor(model.to(where), inference, AVAILABLE, seed=0)(batch))
    return judged(relative(*answers), OF_VALUES)


def _gradients(name: str, device: str) -> dict[str, Any]:
    """The worst of output and gradients. A gradient that ought to be zero is as large as rounding makes it, so all are
    measured by the largest of all."""
    config, model, batch = _model(name)
    latents, frames = (t.detach() for t in model.encoder(batch.features, batch.frames))
    available = torch.tensor([False, True, True]).expand(SIZE, -1)
    generator = seeded(0, "noise")
    x, t = torch.randn(latents[:, 0].shape, generator=generator), torch.rand(SIZE, generator=generator) * 0.9 + 0.1
    outs, gradients = [], []
    for where in ("cpu", device):
        network = model.recovery.networks[0].to(where).requires_grad_(True)
        network.zero_grad()
        cache = network.condition(latents.to(where), available.to(where), frames.to(where))
        out = network(x.to(where), t.to(where), cache)
        out.square().mean().backward()
        outs.append(out)
        gradients.append(torch.cat([_gradient(p) for p in network.parameters()]))
    return {**judged(relative(*gradients), OF_GRADIENTS), "output": relative(*outs)}


def _gradient(parameter: nn.Parameter) -> Tensor:
    found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return found.detach().cpu().flatten().clone()

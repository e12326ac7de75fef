"""Stage recover: the loss in closed form, and a sampler that asks only what was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from imer_ray.config.components import build, option, options
from imer_ray.data.missing import MODALITIES
from imer_ray.models.model import build_refiners
from imer_ray.stages.context import Context
from imer_ray.tasks import recover
from imer_ray.training.denoising import Denoising
from imer_ray.training.latents import Latents
from imer_ray.training.loaders import load_filling, load_refiners


def denoising_inputs(latents: Latents) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    n = 12
    return {
        "latents": latents.x[:n],
        "available": torch.tensor([True, False, True]).expand(n, -1),
        "frames": latents.frames[:n],
        "t": torch.rand(n, generator=generator) * 0.99 + 0.01,
        "eps": torch.randn(latents.x[:n, 1].shape, generator=generator),
    }


def recovery_model(trained: Any) -> nn.ModuleDict:
    """The trained network and refiner of the acoustic modality, as the stage has them."""
    latent_dim = trained.parts.encoder.latent_dim
    network = trained.parts.diffusion.backbone.build(latent_dim, trained.latents().num_frames, 1)
    network.load_state_dict(trained.weights("recover[a]", "network_a.safetensors"))
    refiner = trained.parts.refiner.build(latent_dim)
    refiner.load_state_dict(trained.weights("recover[a]", "refiner_a.safetensors"))
    return nn.ModuleDict({"network": network, "refiners": nn.ModuleDict({"a": refiner})})


@pytest.mark.parametrize("lambda_g", [0.0, 1.0, 3.0])
def test_recovery_loss_in_closed_form(trained: Any, lambda_g: float) -> None:
    """L_rec is the refiner's error on D(x_t, t), which the sampling side computes by itself here."""
    model, given = recovery_model(trained), denoising_inputs(trained.latents())
    denoising = Denoising.of_training(trained.config.diffusion)
    found = recover.recovery_step(lambda_g, model, denoising, target=1, **given)
    recovery = load_filling(trained.parts, trained.context("bank"), trained.latents().num_frames)
    x_0 = given["latents"][:, 1]
    alpha_t, sigma_t = (s[:, None, None] for s in denoising.sde.marginal_prob(given["t"]))
    denoiser = recovery.denoiser(1, given["latents"], given["available"], given["frames"])
    with torch.no_grad():
        refined = model["refiners"]["a"](denoiser(alpha_t * x_0 + sigma_t * given["eps"], given["t"]))
    present = given["frames"][:, 1]
    L_rec = ((refined - x_0).square().mean(2) * present).sum(1) / present.sum(1)
    torch.testing.assert_close(found["recovery"].detach(), L_rec)
    torch.testing.assert_close(found["loss"], (found["diffusion"] + lambda_g * L_rec) / (1 + lambda_g))


def test_training_the_refiner_costs_one_evaluation_and_reaches_the_network_through_it(trained: Any) -> None:
    """Published are 50 evaluations in every batch, all with autograd."""
    model, given = recovery_model(trained), denoising_inputs(trained.latents())
    calls: list[int] = []
    model["network"].register_forward_hook(lambda *_: calls.append(1))
    denoising = Denoising.of_training(trained.config.diffusion)
    found = recover.recovery_step(1.0, model, denoising, target=1, **given)
    assert len(calls) == 1
    gradients = torch.autograd.grad(found["recovery"].sum(), list(model.parameters()), allow_unused=True)
    named = {
        name for (name, _), g in zip(model.named_parameters(), gradients, strict=True) if g is not None and g.any()
    }
    assert {name.partition(".")[0] for name in named} == {"network", "refiners"}


def test_lambda_g_0_trains_the_network_that_pretrain_trains(trained: Any, tmp_path: Path) -> None:
    stage = trained.stages_of(trained.changed(loss__lambda_g=0.0))["recover[a]"]
    pure = load_file(trained.run_stage(stage, tmp_path / "recover") / "network_a.safetensors")
    pretraining = replace(stage, function="imer_ray.tasks.pretrain:run")
    alone = load_file(trained.run_stage(pretraining, tmp_path / "pretrain") / "network_a.safetensors")
    other = trained.weights("recover[a]", "network_a.safetensors")
    assert all(torch.equal(pure[name], alone[name]) for name in alone)
    assert not all(torch.equal(other[name], alone[name]) for name in alone)  # lambda_g = 1 does something to it


@pytest.mark.parametrize("name", options("diffusion/sampler"))
def test_samplers_ask_the_network_at_trained_times_only(trained: Any, name: str) -> None:
    """Published, sampling visits t = 0..49 of 1000, from pure noise: nothing that the network ever learned."""
    config = trained.changed(diffusion__sampler=name)
    latents = trained.latents()
    recovery = load_filling(trained.parts_of(config), trained.context("bank"), latents.num_frames)
    recovery.requires_grad_(True)  # even then nothing is recorded for autograd
    times: list[torch.Tensor] = []
    recovery.networks[1].register_forward_hook(lambda _, args, out: times.append(args[1]))
    available = torch.tensor([True, False, True]).expand(8, -1)
    sampler, generator = build(option("diffusion/sampler", name)), torch.Generator().manual_seed(0)
    filled, _ = recovery(latents.x[:8], available, latents.frames[:8], sampler, 5, generator)
    t_min, t_max = recovery.sde.t_min, recovery.sde.t_max
    walked = torch.stack(times)
    assert float(walked[0].min()) == pytest.approx(t_max, rel=1e-6)
    assert float(walked.min()) >= t_min * (1 - 1e-6) and float(walked.max()) <= t_max * (1 + 1e-6)
    assert not filled.requires_grad


def test_the_network_reads_its_condition_frame_by_frame(trained: Any) -> None:
    """Published, the condition is its mean over time, which does not change when the frames change places."""
    recovery = load_filling(trained.parts, trained.context("bank"), trained.latents().num_frames)
    given = denoising_inputs(trained.latents())
    outputs = []
    for latents in (given["latents"], given["latents"].flip(2)):
        denoiser = recovery.denoiser(1, latents, given["available"], given["frames"])
        outputs.append(denoiser(given["eps"], given["t"]))
    assert float((outputs[0] - outputs[1]).detach().abs().max()) > 1e-3


def test_one_network_for_all_modalities_has_a_refiner_for_each(trained: Any, tmp_path: Path) -> None:
    config = trained.changed(diffusion__sharing="shared")
    folder = trained.run_stage(trained.stages_of(config)["recover[shared]"], tmp_path / "recover")
    context = Context(folder=folder, checkpoint=folder, inputs={f"refiner_{name}": folder for name in MODALITIES})
    parts = trained.parts_of(config)
    start = build_refiners(parts.refiner, parts.encoder.latent_dim)
    for before, after in zip(start, load_refiners(parts, context), strict=True):
        assert before.narrow.weight.eq(0).all() and after.narrow.weight.ne(0).any()  # each has learned

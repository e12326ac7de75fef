"""A network on a prior: nothing more than the closed form at first, and never worse than it in the end."""

from __future__ import annotations

import pytest
import torch
from experiments import experiment
from torch import nn

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.denoiser import Denoiser, expand_time
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.models.parts import DiffusionNetwork
from imer_ray.models.recovery import Recovery, condition
from imer_ray.systems import graph
from imer_ray.training.denoising import Denoising, denoising_step, keep_the_better
from imer_ray.training.latents import Latents

BACKBONES = options("diffusion/backbone")
PRIORS = [name for name in options("diffusion/prior") if name != "none"]
SDES = options("diffusion/sde")


def generator():
    return torch.Generator().manual_seed(5)


def made(backbone="mixer", prior="gaussian", sde="vp", parametrization="v"):
    return DiffusionNetwork(
        sde=build(option("diffusion/sde", sde)),
        backbone=build(option("diffusion/backbone", backbone)),
        parametrization=parametrization,
        prior=build(option("diffusion/prior", prior)),
    )


@pytest.fixture(scope="module")
def law():
    """Clips of which one modality tells of the others."""
    torch.manual_seed(3)
    shared = torch.randn(120, 1, 9, 16)
    latents = 0.8 * shared + 0.6 * torch.randn(120, 3, 9, 16)
    return latents, torch.ones(120, 3, 9, dtype=torch.bool)


@pytest.fixture(scope="module")
def fitted(law):
    """Networks on priors of these clips."""
    latents, frames = law
    clips = Latents(latents, frames, frames[..., 0], torch.zeros(len(latents)))
    found: dict[str, dict[str, torch.Tensor]] = {}

    def build_one(parts, target, name="gaussian"):
        torch.manual_seed(2)
        network = parts.build(16, 9, target)
        if name not in found:
            parts.prior.fit(network.prior, clips, generator())
            found[name] = network.prior.state_dict()
        network.prior.load_state_dict(found[name])
        return network.eval()

    return build_one


def denoiser_of(parts, network, cache):
    return Denoiser(lambda x, t: network(x, t, cache), parts.sde, parts.parametrization, network.scale_input)


@torch.no_grad()
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_untrained_network_changes_nothing(backbone, prior, clips, fitted):
    latents, available, frames = clips
    parts = made(backbone, prior)
    for target in (1, None) if parts.backbone.shareable else (1,):
        network = fitted(parts, target, prior).double()
        targets = torch.arange(len(latents)) % 3 if target is None else None
        cache = network.condition(latents.double(), available, frames, targets)
        t = torch.linspace(0.05, 1, len(latents), dtype=torch.float64)
        x_t = torch.randn(len(latents), 9, 16, dtype=torch.float64, generator=generator())
        alpha_t, sigma_t, _ = expand_time(parts.sde, x_t, t)
        given = target if targets is None else targets
        expected = network.prior.condition(given, latents.double(), available, frames).mean(x_t, alpha_t, sigma_t)
        torch.testing.assert_close(denoiser_of(parts, network, cache)(x_t, t), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("sde", SDES)
def test_every_process_and_parametrization_says_what_the_prior_says(sde, parametrization, law, fitted):
    parts = made("none", sde=sde, parametrization=parametrization)
    network = fitted(parts, 0).double()
    latents, available = law[0][:20].double(), (False, True, True)
    cache = network.condition(latents, available, law[1][:20])
    for t in torch.linspace(parts.sde.t_min, parts.sde.t_max, 7, dtype=torch.float64).tolist():
        x_t = torch.randn(20, 9, 16, dtype=torch.float64, generator=generator())
        alpha_t, sigma_t, _ = expand_time(parts.sde, x_t, t)
        expected = network.prior.condition(0, latents, available, law[1][:20]).mean(x_t, alpha_t, sigma_t)
        found = denoiser_of(parts, network, cache)(x_t, t)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 / float(min(1, alpha_t)))


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "none"])
def test_it_learns_although_it_begins_at_nothing(backbone, law, fitted):
    parts = made(backbone)
    network = fitted(parts, 1).train()
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(3):  # layers behind one that is zero at first are moved from the second step on
        loss = step(parts, network, law).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still = {name for name, p in network.named_parameters() if p.requires_grad and torch.equal(p, start[name])}
    assert not still


def step(parts, network, law, t=0.7):
    latents, frames = law
    available = torch.tensor([True, False, True]).expand(len(latents), -1)
    denoising = Denoising(
        sde=parts.sde,
        parametrization=parts.parametrization,
        sigma_data=1.0,
        condition_dropout=0.0,
        weighting=build(option("diffusion/weighting", "uniform")),
        time_sampling=build(option("diffusion/time_sampling", "uniform")),
    )
    times, eps = torch.full((len(latents),), t), torch.randn(latents[:, 1].shape, generator=generator())
    return denoising_step(network, denoising, latents, available, frames, 1, times, eps)


@torch.no_grad()
def test_a_network_that_does_harm_ends_as_the_prior_alone_and_one_that_helps_stays(law, fitted, randomise):
    parts = made()
    network = fitted(parts, 1)
    alone = float(step(parts, network, law).mean())
    for losses, kept in (([0.5, 0.4], False), ([0.4, 0.5], True)):
        randomise(network)
        trained, answers = step(parts, network, law), iter(losses)
        keep_the_better(network, lambda answers=answers: next(answers))
        expected = float(trained.mean()) if kept else alone
        assert float(step(parts, network, law).mean()) == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_its_weights_hold_the_prior(law, fitted):
    parts = made()
    network = fitted(parts, 1)
    other = parts.build(16, 9, 1).eval()
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(step(parts, other, law), step(parts, network, law), rtol=0, atol=0)


@torch.no_grad()
def test_what_it_fills_does_not_depend_on_how_clips_are_batched(clips, fitted, randomise):
    latents, available, frames = clips[0].double(), *clips[1:]
    parts = made()
    networks = nn.ModuleList(randomise(fitted(parts, m)) for m in range(3)).double()
    recovery = Recovery(networks, parts.sde, "v")
    for m in range(3):
        cache = condition(networks[m], latents, available, frames, m)
        whole = denoiser_of(parts, networks[m], cache)(latents[:, m], 0.5)
        for row in range(len(latents)):
            some = slice(row, row + 1)
            of_one = tuple(available[row].tolist())
            others = available[row] & (torch.arange(3) != m)
            if not others.any():  # nothing is recovered from nothing
                continue
            alone = recovery.denoiser(m, latents[some], of_one, frames[some])(latents[some, m], 0.5)
            own = (frames[row] & others[:, None]).any(0)
            torch.testing.assert_close(alone[0][own], whole[row][own], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("system", ["decoupled", "rohydr", "imder"])
def test_with_neither_a_network_nor_a_prior_nothing_is_recovered(system):
    """Such a system is `masked`, whatever else is said of its diffusion."""
    masked = graph(experiment("system=masked"), "valid")
    found = graph(experiment(f"system={system}", "diffusion.backbone=none", "diffusion.num_steps=7"), "valid")
    assert found.key == masked.key
    assert graph(experiment("diffusion.backbone=none", "diffusion.prior=gaussian"), "valid").key != masked.key

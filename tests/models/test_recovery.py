"""Recovery: what is filled, in how many calls, and what guidance makes of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.guidance import evaluations_per_call
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.models.recovery import Recovery

NAMES = [name for name in options("diffusion/backbone") if name != "none"]  # which has nothing to guide
SHAREABLE = [b for b in (build(option("diffusion/backbone", name)) for name in NAMES) if b.shareable]
NUM_STEPS = 3


def generator():
    return torch.Generator().manual_seed(7)


def recovery_of(backbone, randomise, guidance=1.0, shared=False, dim=16, num_frames=9):
    torch.manual_seed(1)
    networks = nn.ModuleList(backbone.build(dim, num_frames, m) for m in ([None] if shared else range(3)))
    return Recovery(randomise(networks).eval(), VP(), "v", guidance=guidance)


def by_hand(recovery, clips, **told):
    """The missing modalities of every clip that has any, one modality after another, without `Recovery`."""
    latents, available, frames = clips
    filled, noise = latents * available[..., None, None], generator()
    for m, network in enumerate(recovery.networks):
        rows = [i for i in range(len(latents)) if available[i].any() and not available[i, m]]
        some = available[rows]
        cache = network.condition(latents[rows], some, frames[rows], **{k: v[rows] for k, v in told.items()})
        denoiser = Denoiser(lambda x, t, n=network, c=cache: n(x, t, c), recovery.sde, "v")
        x_T = torch.randn(len(rows), *latents.shape[2:], generator=noise) * recovery.sde.prior_std
        own = (frames[rows] & some[..., None]).any(1)
        filled[rows, m] = DDIM().sample(denoiser, recovery.sde, x_T, NUM_STEPS, noise) * own[..., None]
    return filled


@pytest.fixture(params=SHAREABLE, ids=lambda b: type(b).__name__)
def backbone(request):
    return request.param


@torch.no_grad()
def test_without_guidance_it_is_the_conditional_estimate_bit_for_bit(backbone, clips, randomise):
    recovery = recovery_of(backbone, randomise, guidance=1.0)
    filled, num_evaluations = recovery(*clips, DDIM(), NUM_STEPS, generator())
    torch.testing.assert_close(filled, by_hand(recovery, clips), rtol=0, atol=0)
    assert num_evaluations == NUM_STEPS


@torch.no_grad()
def test_guidance_of_weight_0_is_the_unconditional_estimate(backbone, clips, randomise):
    recovery = recovery_of(backbone, randomise, guidance=0.0)
    filled, num_evaluations = recovery(*clips, DDIM(), NUM_STEPS, generator())
    dropped = torch.ones(len(clips[0]), dtype=torch.bool)
    torch.testing.assert_close(filled, by_hand(recovery, clips, dropped=dropped), rtol=1e-4, atol=1e-4)
    assert num_evaluations == 2 * NUM_STEPS


@pytest.mark.parametrize("shared", [False, True], ids=["per_modality", "shared"])
@torch.no_grad()
def test_guidance_is_linear_in_its_weight(backbone, clips, randomise, shared):
    latents, available, frames = clips
    recovery = recovery_of(backbone, randomise, shared=shared).double()
    x_t, some = torch.randn(16, 9, 16, dtype=torch.float64), (latents.double(), available, frames)

    def estimate(weight, t=0.6):
        recovery.guidance = weight
        return recovery.denoiser(1, *some)(x_t, t)

    none, full = estimate(0.0), estimate(1.0)
    assert (full - none).abs().amax() > 1e-3

    @settings(max_examples=10)
    @given(st.floats(0, 10))
    def holds(weight):
        # Rounding of c_skip and c_out, at most 1e-15 of the terms, is magnified by the weight.
        torch.testing.assert_close(estimate(weight), none + weight * (full - none), rtol=1e-9, atol=1e-9)

    holds()


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@torch.no_grad()
def test_evaluations_are_counted_as_the_network_sees_them(clips, randomise, guidance):
    latents, _, frames = clips
    available = torch.tensor([True, False, True]).expand(16, 3)
    recovery = recovery_of(SHAREABLE[0], randomise, guidance)
    seen = []
    recovery.networks[1].register_forward_hook(lambda _module, args, _out: seen.append(len(args[0])))
    _, num_evaluations = recovery(latents, available, frames, Heun(), NUM_STEPS, generator())
    assert sum(seen) == 16 * num_evaluations  # every clip's evaluations, however they are batched
    assert num_evaluations == Heun().num_evaluations(NUM_STEPS) * evaluations_per_call(guidance)


@pytest.mark.parametrize("shared", [False, True], ids=["per_modality", "shared"])
@torch.no_grad()
def test_what_is_filled_has_the_frames_of_the_available_modalities_and_zeros_elsewhere(clips, randomise, shared):
    latents, available, frames = clips
    frames = frames.clone()
    frames[10, 0] = False  # a clip whose modalities have different frames: {v} alone is available
    recovery = recovery_of(SHAREABLE[0], randomise, shared=shared)
    filled, _ = recovery(latents, available, frames, DDIM(), NUM_STEPS, generator())
    missing = available.any(1, keepdim=True) & ~available
    own = (frames & available[..., None]).any(1)[:, None].expand_as(frames)
    assert not filled[missing[..., None] & ~own].any()
    assert (missing[..., None] & ~own).any()
    assert filled[missing[..., None] & own].all()
    torch.testing.assert_close(filled[available], latents[available], rtol=0, atol=0)
    assert not filled[~available.any(1)].any()  # nothing known, nothing invented


@torch.no_grad()
def test_a_shared_network_recovers_all_missing_modalities_of_a_batch_in_one_call(backbone, clips, randomise):
    latents, available, frames = clips
    recovery = recovery_of(backbone, randomise, shared=True)
    seen = []
    recovery.networks[0].register_forward_hook(lambda _module, args, _out: seen.append(len(args[0])))
    recovery(latents, available, frames, DDIM(), NUM_STEPS, generator())
    assert seen == [int((available.any(1, keepdim=True) & ~available).sum())] * NUM_STEPS


@torch.no_grad()
def test_a_shared_network_recovers_the_same_whatever_else_is_in_the_batch(backbone, clips, randomise):
    latents, available, frames = clips
    recovery = recovery_of(backbone, randomise, guidance=1.5, shared=True).double()
    latents = latents.double()
    wanted = available.any(1, keepdim=True) & ~available
    ((_, rows, targets),) = recovery.calls(wanted)
    x_T = torch.randn(len(rows), *latents.shape[2:], dtype=torch.float64)

    def sample(clips, targets, noise):
        denoiser = recovery.denoiser(targets, latents[clips], available[clips], frames[clips])
        return DDIM().sample(denoiser, recovery.sde, noise, NUM_STEPS, generator())

    together = sample(rows, targets, x_T)
    for i in range(0, len(rows), 3):
        own = (frames[rows[i]] & available[rows[i], :, None]).any(0)
        alone = sample(rows[i : i + 1], targets[i : i + 1], x_T[i : i + 1])[0]
        torch.testing.assert_close(alone[own], together[i][own], rtol=1e-9, atol=1e-9)


def test_calls_cover_what_is_wanted_exactly_once(clips, randomise):
    wanted = ~clips[1]
    for shared in (False, True):
        recovery = recovery_of(SHAREABLE[0], randomise, shared=shared)
        covered = torch.zeros_like(wanted, dtype=torch.int64)
        for _, rows, target in recovery.calls(wanted):
            covered[rows, target] += 1
        torch.testing.assert_close(covered, wanted.long(), rtol=0, atol=0)
        assert not list(recovery.calls(torch.zeros_like(wanted)))

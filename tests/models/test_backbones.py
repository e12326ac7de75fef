"""What every backbone in conf/diffusion/backbone must hold to."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from imer_ray.config.components import build, option, options
from imer_ray.models.backbones.dit import CONDITIONINGS, Dit

NAN = float("nan")
NAMES = [name for name in options("diffusion/backbone") if name != "none"]  # which learns nothing
BACKBONES = [build(option("diffusion/backbone", name)) for name in NAMES]
BACKBONES += [
    dataclasses.replace(b, conditioning=c) for b in BACKBONES if isinstance(b, Dit) for c in CONDITIONINGS[1:]
]
CASES = [(b, target) for b in BACKBONES for target in ((1, None) if b.shareable else (1,))]


def named(value):
    return "shared" if value is None else str(value) if isinstance(value, int) else type(value).__name__


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(named, case)))
def case(request):
    return request.param


@pytest.fixture
def network(case, clips, randomise):
    """For modality 1, or for rows of targets 0, 1, 2, 0, ... where it is shared."""
    latents = clips[0]
    settings, target = case
    return randomise(settings.build(latents.shape[3], latents.shape[2], target)).eval()


def targets_of(network, num_rows):
    return torch.arange(num_rows) % 3 if network.target is None else torch.full((num_rows,), network.target)


def told(network, latents, available, frames, targets=None, **rest):
    """What the network makes of the condition; ``targets`` of rows taken out of their order."""
    if network.target is None:
        rest["targets"] = targets_of(network, len(latents)) if targets is None else targets
    return network.condition(latents, available, frames, **rest)


def noisy(latents):
    return torch.randn(len(latents), *latents.shape[2:]), torch.rand(len(latents)) * 0.9 + 0.1


def own_frames(network, available, frames):
    """Frames at which the output counts: any of an available other modality; all if there is none."""
    others = torch.arange(3) != targets_of(network, len(frames))[:, None]
    own = (frames & (available & others)[..., None]).any(1)
    return own | ~own.any(1, keepdim=True)


@pytest.mark.parametrize("target", (0, 1, 2))
@pytest.mark.parametrize("settings", BACKBONES, ids=named)
def test_output_has_the_shape_of_its_input_and_is_finite_whatever_is_available(settings, clips, target, randomise):
    latents, available, frames = clips
    network = randomise(settings.build(latents.shape[3], latents.shape[2], target)).eval()
    x, t = noisy(latents)
    out = network(x, t, told(network, latents, available, frames))
    assert out.shape == x.shape
    assert out.isfinite().all()


def test_depends_on_noisy_input_time_and_condition(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    cache = told(network, latents, available, frames)
    out = network(x, t, cache)
    some = (available & (torch.arange(3) != targets_of(network, len(x))[:, None])).any(1)
    for other in (
        network(x + 0.1, t, cache),
        network(x, t * 0.5, cache),
        network(x, t, told(network, latents + 0.1, available, frames))[some],
    ):
        reference = out if len(other) == len(out) else out[some]
        assert ((other - reference).abs().amax((1, 2)) > 1e-5).all()


def test_never_reads_the_target_itself(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    out = network(x, t, told(network, latents, available, frames))
    latents, available, frames = latents.clone(), available.clone(), frames.clone()
    rows, targets = torch.arange(len(x)), targets_of(network, len(x))
    latents[rows, targets] = NAN
    available[rows, targets] ^= True
    frames[rows, targets] ^= True
    torch.testing.assert_close(network(x, t, told(network, latents, available, frames)), out, rtol=0, atol=0)


def test_never_reads_what_is_unavailable(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    out = network(x, t, told(network, latents, available, frames))
    hidden = latents.masked_fill(~available[..., None, None], NAN)
    torch.testing.assert_close(network(x, t, told(network, hidden, available, frames)), out, rtol=0, atol=0)


def test_never_reads_absent_frames(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    own = own_frames(network, available, frames)
    out = network(x, t, told(network, latents, available, frames))
    hidden = latents.masked_fill(~frames[..., None], NAN)
    junk = torch.where(own[..., None], x, 100 * torch.randn_like(x))
    changed = network(junk, t, told(network, hidden, available, frames))
    assert (~own).any()
    torch.testing.assert_close(changed[own], out[own], rtol=1e-6, atol=1e-6)


def test_rows_of_mixed_patterns_do_not_influence_each_other(network, clips):
    latents, available, frames = clips
    network, latents = network.double(), latents.double()  # so that only order of summation is forgiven
    x, t = (z.double() for z in noisy(latents))
    own = own_frames(network, available, frames)
    out = network(x, t, told(network, latents, available, frames))
    for row in range(len(x)):
        i = slice(row, row + 1)
        alone = network(x[i], t[i], told(network, latents[i], available[i], frames[i], targets_of(network, len(x))[i]))
        torch.testing.assert_close(alone[own[i]], out[i][own[i]], rtol=1e-9, atol=1e-9)


def test_training_and_evaluation_agree_and_repeat(network, clips):
    latents, available, frames = clips
    network, latents = network.double(), latents.double()
    x, t = (z.double() for z in noisy(latents))
    first, second = (network(x, t, told(network, latents, available, frames)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    network.train()  # no dropout by default
    trained = network(x, t, told(network, latents, available, frames))
    own = own_frames(network, available, frames)
    torch.testing.assert_close(trained[own], first[own], rtol=1e-9, atol=1e-9)


def test_gradients_reach_every_trainable_parameter_even_if_nothing_is_available(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    network.train()
    network(x, t, told(network, latents, available, frames)).square().sum().backward()
    for name, p in network.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), name
        else:
            assert p.grad is None, name
    # Data-parallel training waits for every parameter's gradient, also where a batch lacks a pattern.
    network.zero_grad()
    network(x, t, told(network, latents, torch.zeros_like(available), frames)).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_runs_in_half_precision_under_autocast(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    own = own_frames(network, available, frames)
    out = network(x, t, told(network, latents, available, frames))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = network(x, t, told(network, latents, available, frames)).float()
    # bfloat16 has 8 bits: 0.4 % a rounding, a few dozen roundings in a row.
    assert (half - out)[own].square().mean() < 0.1**2 * out[own].square().mean()


def test_a_copy_with_the_same_weights_gives_the_same_output(case, network, clips):
    latents, available, frames = clips
    copy = case[0].build(latents.shape[3], latents.shape[2], network.target).eval()
    copy.load_state_dict(network.state_dict())
    x, t = noisy(latents)
    outs = [n(x, t, told(n, latents, available, frames)) for n in (network, copy)]
    torch.testing.assert_close(*outs, rtol=0, atol=0)


def test_a_row_that_sees_no_condition_is_like_one_without_any_but_knows_its_frames(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    own = own_frames(network, available, frames)
    dropped = torch.arange(len(x)) % 2 == 1
    out = network(x, t, told(network, latents, available, frames, dropped=dropped))
    seen = network(x, t, told(network, latents, available, frames))
    torch.testing.assert_close(out[~dropped], seen[~dropped], rtol=1e-5, atol=1e-5)
    other = network(x, t, told(network, latents + 1, available, frames, dropped=dropped))
    torch.testing.assert_close(other[dropped], out[dropped], rtol=0, atol=0)
    nothing = network(x, t, told(network, latents, torch.zeros_like(available), frames))
    whole = dropped & own.all(1)
    assert whole.sum() >= 4
    torch.testing.assert_close(out[whole], nothing[whole], rtol=1e-5, atol=1e-5)
    junk = torch.where(own[..., None], x, 100 * torch.randn_like(x))
    changed = network(junk, t, told(network, latents, available, frames, dropped=dropped))
    torch.testing.assert_close(changed[own], out[own], rtol=1e-6, atol=1e-6)


def test_a_shared_network_tells_its_targets_apart_or_refuses_to_be_built(clips, randomise):
    latents, available, frames = clips
    x, t = noisy(latents)
    some = latents[:, :1].expand(-1, 3, -1, -1)  # the condition is the same, whatever the target
    for settings in BACKBONES:
        if not settings.shareable:
            with pytest.raises(ValueError, match="cannot be shared"):
                settings.build(16, 9, None)
            continue
        network = randomise(settings.build(16, 9, None)).eval()
        none = torch.zeros_like(available)
        outs = [network(x, t, network.condition(some, none, frames, torch.full((len(x),), m))) for m in range(3)]
        for a, b in ((0, 1), (1, 2), (0, 2)):
            assert ((outs[a] - outs[b]).abs().amax((1, 2)) > 1e-5).all()
        with pytest.raises(ValueError, match="which modality each row recovers"):
            network.condition(latents, available, frames)


def test_a_target_of_a_shared_network_is_no_condition_of_its_own_row_but_of_others(clips, randomise):
    """One clip in three rows, one per target: each reads the two others, as three networks would."""
    latents, frames = clips[0][:1].expand(3, -1, -1, -1), clips[2][:1].expand(3, -1, -1)
    available = torch.ones(3, 3, dtype=torch.bool)
    targets = torch.arange(3)
    x, t = torch.randn(3, *latents.shape[2:]), torch.rand(3)
    for settings in (b for b in BACKBONES if b.shareable):
        network = randomise(settings.build(16, 9, None)).eval()
        out = network(x, t, network.condition(latents, available, frames, targets))
        for m in range(3):
            changed = latents.clone()
            changed[:, m] += 1
            moved = network(x, t, network.condition(changed, available, frames, targets)) - out
            torch.testing.assert_close(moved[m], torch.zeros_like(moved[m]), rtol=0, atol=0)
            assert (moved[targets != m].abs().amax((1, 2)) > 1e-5).all()


def test_too_short_sequences_are_refused_and_the_shortest_allowed_works(clips):
    for settings in BACKBONES:
        L = settings.min_frames
        network = settings.build(16, L, 0).eval()
        latents, frames = clips[0][:4, :, :L], clips[2][:4, :, :L]
        out = network(torch.randn(4, L, 16), torch.rand(4), network.condition(latents, clips[1][:4], frames))
        assert out.shape == (4, L, 16) and out.isfinite().all()
        if L > 1:
            with pytest.raises(ValueError, match=f"at least {L} frames, not {L - 1}"):
                settings.build(16, L - 1, 0)

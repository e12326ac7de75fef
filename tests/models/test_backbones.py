"""What every backbone in conf/diffusion/backbone must hold to."""

from __future__ import annotations

import pytest
import torch

from imer_ray.config import build, option, options

NAN = float("nan")
TARGETS = (0, 1, 2)
BACKBONES = options("diffusion/backbone")


@pytest.fixture(params=BACKBONES)
def settings(request):
    return build(option("diffusion/backbone", request.param))


@pytest.fixture
def network(settings, clips, randomise):
    latents = clips[0]
    target = 1
    network = settings.build(latents.shape[3], latents.shape[2], target)
    return randomise(network).eval()


def noisy(latents):
    return torch.randn(len(latents), *latents.shape[2:]), torch.rand(len(latents)) * 0.9 + 0.1


def own_frames(available, frames, target):
    """Frames at which the output counts: any of an available other modality; all if there is none."""
    others = [m for m in range(3) if m != target]
    own = (frames & available[..., None])[:, others].any(1)
    return own | ~own.any(1, keepdim=True)


@pytest.mark.parametrize("target", TARGETS)
def test_output_has_the_shape_of_its_input_and_is_finite_whatever_is_available(settings, clips, target, randomise):
    latents, available, frames = clips
    network = randomise(settings.build(latents.shape[3], latents.shape[2], target)).eval()
    x, t = noisy(latents)
    out = network(x, t, network.condition(latents, available, frames))
    assert out.shape == x.shape
    assert out.isfinite().all()


def test_depends_on_noisy_input_time_and_condition(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    cache = network.condition(latents, available, frames)
    out = network(x, t, cache)
    some = available[:, [0, 2]].any(1)
    for other in (
        network(x + 0.1, t, cache),
        network(x, t * 0.5, cache),
        network(x, t, network.condition(latents + 0.1, available, frames))[some],
    ):
        reference = out if len(other) == len(out) else out[some]
        assert ((other - reference).abs().amax((1, 2)) > 1e-5).all()


def test_never_reads_the_target_itself(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    out = network(x, t, network.condition(latents, available, frames))
    latents, available, frames = latents.clone(), available.clone(), frames.clone()
    latents[:, network.target] = NAN
    available[:, network.target] ^= True
    frames[:, network.target] ^= True
    torch.testing.assert_close(network(x, t, network.condition(latents, available, frames)), out, rtol=0, atol=0)


def test_never_reads_what_is_unavailable(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    out = network(x, t, network.condition(latents, available, frames))
    hidden = latents.masked_fill(~available[..., None, None], NAN)
    torch.testing.assert_close(network(x, t, network.condition(hidden, available, frames)), out, rtol=0, atol=0)


def test_never_reads_absent_frames(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    own = own_frames(available, frames, network.target)
    out = network(x, t, network.condition(latents, available, frames))
    hidden = latents.masked_fill(~frames[..., None], NAN)
    junk = torch.where(own[..., None], x, 100 * torch.randn_like(x))
    changed = network(junk, t, network.condition(hidden, available, frames))
    assert (~own).any()
    torch.testing.assert_close(changed[own], out[own], rtol=1e-6, atol=1e-6)


def test_rows_of_mixed_patterns_do_not_influence_each_other(network, clips):
    latents, available, frames = clips
    network, latents = network.double(), latents.double()  # so that only order of summation is forgiven
    x, t = (z.double() for z in noisy(latents))
    own = own_frames(available, frames, network.target)
    out = network(x, t, network.condition(latents, available, frames))
    for row in range(len(x)):
        i = slice(row, row + 1)
        alone = network(x[i], t[i], network.condition(latents[i], available[i], frames[i]))
        torch.testing.assert_close(alone[own[i]], out[i][own[i]], rtol=1e-9, atol=1e-9)


def test_training_and_evaluation_agree_and_repeat(network, clips):
    latents, available, frames = clips
    network, latents = network.double(), latents.double()
    x, t = (z.double() for z in noisy(latents))
    first, second = (network(x, t, network.condition(latents, available, frames)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    network.train()  # no dropout by default
    trained = network(x, t, network.condition(latents, available, frames))
    own = own_frames(available, frames, network.target)
    torch.testing.assert_close(trained[own], first[own], rtol=1e-9, atol=1e-9)


def test_gradients_reach_every_trainable_parameter_even_if_nothing_is_available(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    network.train()
    network(x, t, network.condition(latents, available, frames)).square().sum().backward()
    for name, p in network.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), name
        else:
            assert p.grad is None, name
    # Data-parallel training waits for every parameter's gradient, also where a batch lacks a pattern.
    network.zero_grad()
    network(x, t, network.condition(latents, torch.zeros_like(available), frames)).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_runs_in_half_precision_under_autocast(network, clips):
    latents, available, frames = clips
    x, t = noisy(latents)
    own = own_frames(available, frames, network.target)
    out = network(x, t, network.condition(latents, available, frames))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = network(x, t, network.condition(latents, available, frames)).float()
    # bfloat16 has 8 bits: 0.4 % a rounding, a few dozen roundings in a row.
    assert (half - out)[own].square().mean() < 0.1**2 * out[own].square().mean()


def test_a_copy_with_the_same_weights_gives_the_same_output(settings, network, clips):
    latents, available, frames = clips
    copy = settings.build(latents.shape[3], latents.shape[2], network.target).eval()
    copy.load_state_dict(network.state_dict())
    x, t = noisy(latents)
    outs = [n(x, t, n.condition(latents, available, frames)) for n in (network, copy)]
    torch.testing.assert_close(*outs, rtol=0, atol=0)

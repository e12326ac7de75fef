from __future__ import annotations

import pytest
import torch
from torch import nn

from imer_ray.config.components import build, option
from imer_ray.models.fusion import MulT
from imer_ray.models.model import Recogniser
from imer_ray.models.refiner import RCAN


def test_has_as_many_parameters_as_published():
    refiner = build(option("refiner", "imder")).build(32)
    assert sum(p.numel() for p in refiner.parameters()) == 522_224


@pytest.mark.parametrize("length", [1, 8, 48])
def test_keeps_the_shape_at_any_length(length):
    refiner = RCAN(num_blocks=2).build(16).eval()
    x = torch.randn(3, length, 16)
    assert refiner(x).shape == x.shape


def test_residual_refiner_starts_as_the_identity_and_the_published_one_does_not():
    x = torch.randn(3, 8, 16)
    torch.testing.assert_close(RCAN(num_blocks=2, residual=True).build(16)(x), x, rtol=0, atol=0)
    assert not torch.allclose(RCAN(num_blocks=2).build(16)(x), x, atol=0.1)


def test_equals_the_group_written_out(randomise):
    refiner = randomise(RCAN(num_blocks=2, width=32, residual=True).build(16), 0.05).double()
    x = torch.randn(2, 8, 16, dtype=torch.double)
    h = start = refiner.widen(x.transpose(1, 2))
    for block in refiner.blocks:
        c = block.second(block.first(h).relu())
        bottleneck = (c.mean(2) @ block.squeeze.weight.T + block.squeeze.bias).relu()
        h = h + c * (bottleneck @ block.excite.weight.T + block.excite.bias).sigmoid()[:, :, None]
    expected = x + refiner.narrow(start + refiner.collect(h)).transpose(1, 2)
    torch.testing.assert_close(refiner(x), expected)


def test_gradients_reach_every_parameter(randomise):
    refiner = randomise(RCAN(num_blocks=2, residual=True).build(16), 0.05)
    refiner(torch.randn(3, 8, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in refiner.parameters())


@pytest.mark.parametrize("wrong", [{"num_blocks": 0}, {"reduction": 0}, {"width": 8}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RCAN(**wrong)


def test_latents_keep_their_precision_where_refiners_give_half(clips):
    """As they do under autocast; a GPU's does not bring the two together when rows are copied, a CPU's does."""
    latents, available, _ = clips
    some = available.any(1)
    encoders = MulT().build(16), MulT().build_head(16)
    refiners = nn.ModuleList(nn.Linear(16, 16).to(torch.bfloat16) for _ in range(3))
    for refiner in refiners:
        refiner.register_forward_pre_hook(lambda _module, inputs: tuple(x.to(torch.bfloat16) for x in inputs))
    recogniser = Recogniser(*encoders, refiners, 16)
    refined = recogniser.refine(latents[some], available[some])
    assert refined.dtype == torch.float32
    assert torch.equal(refined[available[some]], latents[some][available[some]])

from __future__ import annotations

import pytest
import torch

from imer_ray.config import build, option
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

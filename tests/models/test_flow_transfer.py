"""Normalising flows: exact inverses and densities, and what is carried from one modality to another."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from imer_ray.models.imputers.flow_transfer import NUM_CLASSES, Flow, FlowImputer, FlowTransfer


def _flow(randomise, num_channels: int) -> Flow:
    return randomise(Flow(num_channels, num_couplings=6, width=16), 0.2)


def _imputer(randomise, latent_dim: int = 4) -> FlowImputer:
    return randomise(FlowTransfer(num_couplings=4, width=8).build(latent_dim, 3), 0.4)


@pytest.mark.parametrize("num_channels", [1, 2, 5, 16])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_the_inverse_undoes_the_flow(randomise, num_channels: int, dtype: torch.dtype, tolerance: float) -> None:
    flow = _flow(randomise, num_channels).to(dtype)
    x = torch.randn(20, 3, num_channels, dtype=dtype)
    z, _ = flow(x)
    assert not torch.allclose(z, x, atol=0.1)
    torch.testing.assert_close(flow.inverse(z), x, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(flow(flow.inverse(x))[0], x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("num_channels", [1, 2, 5])
def test_the_log_determinant_is_that_of_the_jacobian(randomise, num_channels: int) -> None:
    flow = _flow(randomise, num_channels).double()
    for x in torch.randn(4, num_channels, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x)[0], x)
        torch.testing.assert_close(flow(x)[1], torch.linalg.slogdet(jacobian).logabsdet)


def test_every_channel_is_changed_and_an_untrained_flow_changes_none(randomise) -> None:
    x = torch.randn(7, 2, 6)
    z, log_det = Flow(6, 4, 8)(x)
    assert torch.equal(z, x) and not log_det.any()
    assert (_flow(randomise, 6)(x)[0] != x).any(0).any(0).all()


def test_the_density_of_a_class_integrates_to_one(randomise) -> None:
    """One frame of one number, on a grid from -30 to 30."""
    imputer = _imputer(randomise, latent_dim=1)
    grid = torch.linspace(-30, 30, 20001)
    latents = torch.zeros(len(grid), 3, 1, 1)
    latents[:, 0, 0, 0] = grid
    recorded = torch.tensor([True, False, False]).expand(len(grid), 3)
    frames = torch.ones(len(grid), 3, 1, dtype=torch.bool)
    for label in (-3.0, 0.4, 2.0, math.nan):
        nll = imputer.negative_log_likelihood(latents, recorded, frames, torch.full((len(grid),), label))
        assert float(torch.trapezoid((-nll).exp().detach(), grid)) == pytest.approx(1.0, abs=2e-3)


def test_an_untrained_imputers_clips_are_standard_normal_whatever_their_class() -> None:
    imputer = FlowTransfer().build(4, 3)
    latents, labels = torch.randn(5, 3, 3, 4), torch.tensor([-9.0, -1.0, 0.2, 3.0, math.nan])
    recorded, frames = torch.ones(5, 3, dtype=torch.bool), torch.ones(5, 3, 3, dtype=torch.bool)
    nll = imputer.negative_log_likelihood(latents, recorded, frames, labels)
    expected = -torch.distributions.Normal(0, 1).log_prob(latents).mean((1, 2, 3))
    torch.testing.assert_close(nll, expected)


def test_what_was_not_recorded_is_no_part_of_the_likelihood(randomise) -> None:
    imputer = _imputer(randomise)
    latents, labels = torch.randn(6, 3, 3, 4), torch.zeros(6)
    recorded, frames = torch.rand(6, 3) < 0.6, torch.rand(6, 3, 3) < 0.7
    other = torch.where((recorded[..., None] & frames)[..., None], latents, 5.0)
    first, second = (imputer.negative_log_likelihood(x, recorded, frames, labels) for x in (latents, other))
    assert torch.equal(first, second)


def test_modalities_with_one_flow_are_carried_unchanged_and_several_are_averaged(randomise) -> None:
    imputer = _imputer(randomise)
    imputer.flows = nn.ModuleList([imputer.flows[0]] * 3)
    latents, frames = torch.randn(5, 3, 3, 4), torch.ones(5, 3, 3, dtype=torch.bool)
    with torch.no_grad():
        one = torch.tensor([True, False, False]).expand(5, 3)
        filled, _ = imputer(latents, one, frames, None, 0, None)
        torch.testing.assert_close(filled, latents[:, :1].expand(-1, 3, -1, -1), rtol=1e-4, atol=1e-5)
        two = torch.tensor([True, True, False]).expand(5, 3)
        filled, _ = imputer(latents, two, frames, None, 0, None)
        z = torch.stack([imputer.flows[0](latents[:, m])[0] for m in (0, 1)]).mean(0)
        torch.testing.assert_close(imputer.flows[0](filled[:, 2])[0], z, rtol=1e-4, atol=1e-4)


def test_classes_pull_latent_variables_of_all_modalities_to_one_mean() -> None:
    """The likelihood is greatest where a class's mean is that of its latent variables: the gradient there is zero."""
    imputer = FlowTransfer().build(2, 1)
    latents = torch.randn(40, 3, 1, 2)
    labels = torch.cat([torch.full((20,), 2.0), torch.full((20,), -1.0)])
    recorded, frames = torch.ones(40, 3, dtype=torch.bool), torch.ones(40, 3, 1, dtype=torch.bool)
    with torch.no_grad():
        imputer.mean[5] = latents[:20].mean((0, 1, 2))
        imputer.mean[2] = latents[20:].mean((0, 1, 2))
    imputer.negative_log_likelihood(latents, recorded, frames, labels).mean().backward()
    assert imputer.mean.grad is not None and imputer.mean.grad.shape == (NUM_CLASSES, 2)
    assert float(imputer.mean.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("change", [{"num_couplings": 0}, {"width": 0}])
def test_impossible_settings_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="num_couplings and width must be at least 1"):
        FlowTransfer(**change)

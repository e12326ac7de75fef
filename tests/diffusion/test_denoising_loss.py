import math

import pytest
import torch

from imer_ray.diffusion.loss import denoising_loss
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.weighting import EDM

STD = 0.7


def gaussian():
    return GaussianMixture(torch.ones(1), torch.tensor([[0.3, -0.2]]), STD**2 * torch.eye(2)[None])


def smallest_loss(parametrization, alpha_t, sigma_t):
    """Var[F* | x_t] for x_0 ~ N(m, s^2): Var[x_0 | x_t] = s^2 sigma^2/(alpha^2 s^2 + sigma^2), and with x_t held fixed
    F* moves with x_0 by 1 (x0), by alpha/sigma (eps, score), by sqrt(alpha^2 + sigma^2)/sigma (v, edm) or by
    (alpha + sigma)/sigma (velocity)."""
    w = STD**2 * sigma_t**2 / (alpha_t**2 * STD**2 + sigma_t**2)
    v = (alpha_t**2 + sigma_t**2) / sigma_t**2
    square = {"x0": 1.0, "v": v, "edm": v, "velocity": (1 + alpha_t / sigma_t) ** 2}
    return w * square.get(parametrization, alpha_t**2 / sigma_t**2)


def batch(generator, oracle, t, num_clips=400, num_frames=50):
    x_0 = oracle.sample(num_clips, num_frames, generator)
    eps = torch.randn(x_0.shape, generator=generator)
    return x_0, torch.full((num_clips,), t), eps, torch.ones(num_clips, num_frames, dtype=torch.bool)


@pytest.mark.parametrize("fraction", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_oracle_reaches_the_closed_form(sde, parametrization, fraction):
    oracle, t = gaussian(), fraction * sde.t_max
    data = batch(torch.Generator().manual_seed(0), oracle, t)
    loss = denoising_loss(oracle.network(sde, parametrization), sde, parametrization, *data).mean().item()
    # 40,000 squared normals: one standard error is 0.7 % of the loss.
    expected = smallest_loss(parametrization, *marginal_at(sde, t))
    assert loss == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_whatever_differs_from_the_oracle_costs_its_square(sde, parametrization):
    """E|F + d - F*|^2 = E|F - F*|^2 + |d|^2, for a d that may depend on x_t."""
    oracle = gaussian()
    network = oracle.network(sde, parametrization)
    data = batch(torch.Generator().manual_seed(1), oracle, 0.4)
    best = denoising_loss(network, sde, parametrization, *data).mean()
    other = denoising_loss(lambda x, t: network(x, t) + 0.5 * x.sign(), sde, parametrization, *data).mean()
    # The cross term averages 40,000 products of standard error at most 0.005.
    assert (other - best).item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_edm_loss_of_data_of_its_own_spread_is_the_same_at_every_level(sigma):
    """With sigma_data = s the best error of x_0, s^2 sigma^2/(s^2 + sigma^2), is c_out^2: for Gaussian data F = 0 is
    the best network, and its loss 1 at every noise level."""
    oracle = GaussianMixture(torch.ones(1), torch.zeros(1, 2), STD**2 * torch.eye(2)[None])
    sde = VE(sigma_min=0.01, sigma_max=10.0)
    t = math.log(sigma / 0.01) / math.log(1000)
    data = batch(torch.Generator().manual_seed(0), oracle, t)
    network = oracle.network(sde, "edm", sigma_data=STD)
    loss = denoising_loss(network, sde, "edm", *data, sigma_data=STD)
    assert loss.mean().item() == pytest.approx(1, rel=0.03)
    weighted = denoising_loss(network, sde, "edm", *data, weighting=EDM(), sigma_data=STD)
    torch.testing.assert_close(weighted, loss)
    assert network(data[0], data[1]).abs().max() < 1e-4  # F = 0: c_skip x_t is the posterior mean already


def test_score_loss_is_imders():
    """(s std + z)^2, which IMDer sums over frames and features and this averages."""
    sde, generator = ImderVE(), torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 3, 4, 2, generator=generator)
    t = torch.tensor([0.1, 0.5, 0.9])
    std = sde.marginal_prob(t)[1][:, None, None]

    def network(x, t):
        return (x.cos() + t[:, None, None]) * 0.3

    score = network(x_0 + std * eps, t) / std
    expected = (score * std + eps).square().sum((1, 2)) / (4 * 2)
    frames = torch.ones(3, 4, dtype=torch.bool)
    loss = denoising_loss(network, sde, "score", x_0, t, eps, frames, scale_input=False)
    torch.testing.assert_close(loss, expected)


def test_padding_is_not_scored():
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 3, 4, 2, generator=generator)
    frames = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    loss = denoising_loss(lambda x, t: torch.zeros_like(x), VP(), "eps", x_0, torch.full((3,), 0.5), eps, frames)
    expected = torch.stack([eps[0].square().mean(), eps[1, :2].square().mean(), torch.zeros(())])
    torch.testing.assert_close(loss, expected)


def test_gradient_reaches_the_network():
    weight = torch.zeros((), requires_grad=True)
    x_0, eps = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    frames = torch.ones(3, 4, dtype=torch.bool)
    denoising_loss(lambda x, t: weight * x, VP(), "eps", x_0, torch.full((3,), 0.9), eps, frames).mean().backward()
    assert weight.grad < 0  # noisy input predicts noise

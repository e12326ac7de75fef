import pytest
import torch

from imer_ray.diffusion.loss import denoising_loss, sample_time
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.vp import VP

STD = 0.7


def gaussian():
    return GaussianMixture(torch.ones(1), torch.tensor([[0.3, -0.2]]), STD**2 * torch.eye(2)[None])


def smallest_loss(parametrization, alpha_t, sigma_t):
    """Var[F* | x_t] for x_0 ~ N(m, s^2): Var[x_0 | x_t] = s^2 sigma^2/(alpha^2 s^2 + sigma^2), and with x_t held fixed
    F* moves with x_0 by 1 (x0), by alpha/sigma (eps, score) or by sqrt(alpha^2 + sigma^2)/sigma (v)."""
    w = STD**2 * sigma_t**2 / (alpha_t**2 * STD**2 + sigma_t**2)
    square = {"x0": 1.0, "v": (alpha_t**2 + sigma_t**2) / sigma_t**2}
    return w * square.get(parametrization, alpha_t**2 / sigma_t**2)


def batch(generator, oracle, t, num_clips=400, num_frames=50):
    x_0 = oracle.sample(num_clips, num_frames, generator)
    eps = torch.randn(x_0.shape, generator=generator)
    return x_0, torch.full((num_clips,), t), eps, torch.ones(num_clips, num_frames, dtype=torch.bool)


@pytest.mark.parametrize("t", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_oracle_reaches_the_closed_form(sde, parametrization, t):
    oracle = gaussian()
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


def test_times_fill_the_range_evenly(sde):
    t = sample_time(sde, 1000, torch.Generator().manual_seed(3))
    u = (t.double() - sde.t_min) / (sde.t_max - sde.t_min)
    assert t.shape == (1000,)
    assert sde.t_min <= t.min() and t.max() <= sde.t_max
    parts = torch.histc(u, bins=1000, min=0, max=1)
    assert (parts - 1).abs().max() <= 1  # one a part, but for rounding at its edges


def test_a_time_is_uniform_from_draw_to_draw():
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([sample_time(VP(), 4, generator)[0] for _ in range(2000)])
    assert first.mean().item() == pytest.approx(0.5, abs=0.03)  # standard error 0.0065
    assert first.var().item() == pytest.approx(1 / 12, abs=0.01)

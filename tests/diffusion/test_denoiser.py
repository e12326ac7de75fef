import math

import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP


class Recorder:
    """A network that keeps what it was given and returns ones."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t):
        self.calls.append((x, t))
        return torch.ones_like(x)


def test_one_time_is_the_same_as_that_time_for_every_clip(sde):
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for parametrization in PARAMETRIZATIONS:
        denoiser = Denoiser(Recorder(), sde, parametrization)
        by_clip = denoiser(x, torch.full((3,), 0.3, dtype=torch.float64))
        torch.testing.assert_close(denoiser(x, 0.3), by_clip, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(denoiser(x, torch.tensor(0.3, dtype=torch.float64)), by_clip, rtol=1e-12, atol=1e-12)


def test_network_is_given_a_time_for_every_clip():
    network = Recorder()
    denoiser = Denoiser(network, VP(), "v")
    denoiser(torch.zeros(3, 4, 2), 0.25)
    denoiser(torch.zeros(3, 4, 2), torch.tensor([0.1, 0.2, 0.3]))
    assert [t.tolist() for _, t in network.calls] == [[0.25] * 3, pytest.approx([0.1, 0.2, 0.3])]
    assert denoiser.num_evaluations == 2


def test_half_precision_keeps_times_apart():
    network = Recorder()
    denoiser = Denoiser(network, VP(), "v")
    x_0 = denoiser(torch.zeros(1, 1, 1, dtype=torch.bfloat16), 0.999)
    assert x_0.dtype == torch.bfloat16
    assert network.calls[0][1].dtype == torch.float32


def test_inputs_have_unit_variance_for_data_of_unit_variance(sde):
    generator, network = torch.Generator().manual_seed(0), Recorder()
    for t in (sde.t_min, 0.3, sde.t_max):
        alpha_t, sigma_t = marginal_at(sde, t)
        x_0, eps = torch.randn(2, 1, 1, 50_000, generator=generator)
        Denoiser(network, sde, "x0")(alpha_t * x_0 + sigma_t * eps, t)
        assert network.calls[-1][0].std().item() == pytest.approx(1, abs=0.02)  # six standard errors


def test_input_is_left_alone_when_asked():
    network, x = Recorder(), torch.full((1, 1, 1), 7.0)
    Denoiser(network, VE(), "x0", scale_input=False)(x, 1.0)
    assert torch.equal(network.calls[0][0], x)


def test_score_network_is_read_as_imders():
    """IMDer: score = F/std(t), and by Tweedie x_0 = x_t + std^2 score."""
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    std = math.sqrt((25**1.2 - 1) / (2 * math.log(25)))
    x_0 = Denoiser(Recorder(), ImderVE(), "score", scale_input=False)(x, 0.6)
    torch.testing.assert_close(x_0, x + std**2 * (torch.ones_like(x) / std))


@pytest.mark.parametrize("sigma_data", [0.5, 3.0])
def test_inputs_have_unit_variance_for_data_of_any_stated_spread(sde, sigma_data):
    generator, network = torch.Generator().manual_seed(0), Recorder()
    for t in (sde.t_min, 0.3, sde.t_max):
        alpha_t, sigma_t = marginal_at(sde, t)
        x_0, eps = torch.randn(2, 1, 1, 50_000, generator=generator)
        Denoiser(network, sde, "edm", sigma_data=sigma_data)(alpha_t * sigma_data * x_0 + sigma_t * eps, t)
        assert network.calls[-1][0].std().item() == pytest.approx(1, abs=0.02)


def test_edm_network_is_read_as_karras():
    """D = c_skip x + c_out F(c_in x) with the formulas of their table 1, for sigma = 2 and sigma_data = 0.5."""
    x, sigma, d = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 2.0, 0.5
    sde = VE(sigma_min=1.0, sigma_max=4.0)  # sigma = 2 at t = 1/2
    x_0 = Denoiser(lambda x, t: x.cos(), sde, "edm", sigma_data=d)(x, 0.5)
    c_skip, c_out = d**2 / (sigma**2 + d**2), sigma * d / math.sqrt(sigma**2 + d**2)
    torch.testing.assert_close(x_0, c_skip * x + c_out * (x / math.sqrt(sigma**2 + d**2)).cos())


@pytest.mark.parametrize("sde", [VE(sigma_max=50.0), VP(schedule="cosine"), VP(schedule="linear")])
def test_single_precision_recovers_data_from_the_strongest_noise(sde):
    """A perfect v network at t = 1: what rounding adds must stay far below the data's scale."""
    alpha_t, sigma_t = marginal_at(sde, 1.0)
    x_0, eps = torch.randn(2, 8, 4, 3, generator=torch.Generator().manual_seed(0))
    n = math.hypot(alpha_t, sigma_t)
    v = (alpha_t * eps.double() - sigma_t * x_0.double()).float() / n
    estimate = Denoiser(lambda x, t: v, sde, "v")(alpha_t * x_0 + sigma_t * eps, torch.ones(8))
    torch.testing.assert_close(estimate, x_0, rtol=0, atol=1e-4)


def test_unknown_parametrization_is_refused():
    with pytest.raises(ValueError, match="parametrization"):
        Denoiser(Recorder(), VP(), "noise")

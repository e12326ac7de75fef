"""Samplers that must equal something written another way."""

import math

import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_2m import DPMpp2M
from imer_ray.diffusion.samplers.dpmpp_2s import DPMpp2S
from imer_ray.diffusion.samplers.dpmpp_3m import DPMpp3M
from imer_ray.diffusion.samplers.dpmpp_sde import SDEDPMpp2M
from imer_ray.diffusion.samplers.euler_maruyama import EulerMaruyama
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.samplers.pf_euler import ProbabilityFlowEuler
from imer_ray.diffusion.samplers.stochastic_heun import StochasticHeun
from imer_ray.diffusion.samplers.unipc import UniPC
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP

ORACLE = GaussianMixture(
    weights=torch.tensor([0.6, 0.4], dtype=torch.float64),
    means=torch.tensor([[1.0, 0.5], [-1.2, -0.6]], dtype=torch.float64),
    covariances=torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.2]]], dtype=torch.float64),
)


class Trace:
    """A denoiser that keeps each point, time and estimate."""

    def __init__(self, sde):
        self.denoiser, self.calls = Denoiser(ORACLE.network(sde, "v"), sde, "v"), []

    def __call__(self, x_t, t):
        estimate = self.denoiser(x_t, t)
        self.calls.append((x_t, t, estimate))
        return estimate


def start(sde, shape=(4, 3, 2)):
    return initial_noise(sde, shape, torch.Generator().manual_seed(7), "cpu").double()


def test_euler_maruyama_is_imders_loop():
    """IMDer's sampler in plain words: 100 steps, t from 1 to 1e-3, the last mean without noise."""
    sde, sigma = ImderVE(sigma=25.0), 25.0

    def std(t):
        return math.sqrt((sigma ** (2 * t) - 1) / (2 * math.log(sigma)))

    def score(x, t):  # of the mixture, with the noise of time t
        return ORACLE.score(x, 1.0, std(t))

    init = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(11)
    x, time_steps = init.double() * std(1.0), torch.linspace(1.0, 1e-3, 100, dtype=torch.float64).tolist()
    step_size = time_steps[0] - time_steps[1]
    for t in time_steps:
        g = sigma**t
        mean_x = x + g**2 * score(x, t) * step_size
        x = mean_x + math.sqrt(step_size) * g * torch.randn(4, 3, 2, generator=generator, dtype=torch.float64)

    denoiser = Denoiser(ORACLE.network(sde, "score", scale_input=False), sde, "score", scale_input=False)
    x_T = init.double() * sde.prior_std
    ours = EulerMaruyama().sample(denoiser, sde, x_T, 100, torch.Generator().manual_seed(11))
    torch.testing.assert_close(ours, mean_x, rtol=1e-8, atol=1e-8)
    assert denoiser.num_evaluations == 100


def test_ddim_without_noise_is_the_exponential_euler_step(sde):
    """Between two times, x solves dx/dt = f x - g^2/2 score with the estimate of x_0 held fixed: integrated here by 200
    small Runge-Kutta steps from f and g alone."""
    trace = Trace(sde)
    DDIM(spacing="log_snr").sample(trace, sde, start(sde), 12, torch.Generator())
    for (x, t, D), (x_next, s, _) in zip(trace.calls[3:-1:3], trace.calls[4::3], strict=False):
        times = torch.linspace(t, s, 401, dtype=torch.float64)
        alpha, sigma = sde.marginal_prob(times)
        f, g2 = sde.drift_coefficient(times), sde.diffusion(times) ** 2
        linear, constant = (f + g2 / (2 * sigma**2)).tolist(), (-g2 * alpha / (2 * sigma**2)).tolist()

        def slope(x, i, linear=linear, constant=constant, D=D):
            return linear[i] * x + constant[i] * D

        h = (s - t) / 200
        for i in range(0, 400, 2):
            k1 = slope(x, i)
            k2 = slope(x + h / 2 * k1, i + 1)
            k3 = slope(x + h / 2 * k2, i + 1)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3, i + 2))
        torch.testing.assert_close(x_next, x, rtol=1e-6, atol=1e-6)


def test_ddim_with_all_noise_is_ancestral_sampling(sde):
    """Each step draws from q(x_s | x_t, x_0 = D), here by Bayes' rule for two Gaussians."""
    trace = Trace(sde)
    DDIM(eta=1.0).sample(trace, sde, start(sde), 6, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    for (x_t, t, D), (x_s, s, _) in zip(trace.calls[:-1], trace.calls[1:], strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = marginal_at(sde, t), marginal_at(sde, s)
        ratio = alpha_t / alpha_s  # x_t | x_s ~ N(ratio x_s, between)
        between = sigma_t**2 - ratio**2 * sigma_s**2
        variance = 1 / (1 / sigma_s**2 + ratio**2 / between)
        mean = variance * (alpha_s * D / sigma_s**2 + ratio * x_t / between)
        z = torch.randn(x_t.shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(x_s, mean + math.sqrt(variance) * z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "sampler",
    [
        DDIM(),
        DDIM(eta=0.7),
        Heun(),
        ProbabilityFlowEuler(),
        DPMpp2M(),
        DPMpp2S(),
        DPMpp3M(),
        SDEDPMpp2M(),
        UniPC(),
        StochasticHeun(spacing="angle"),
    ],
    ids=repr,
)
def test_variance_exploding_and_preserving_are_one_process(sampler):
    """Between the same ends of sigma/alpha, scaling x is all that differs; spacing by angle sees only sigma/alpha."""
    vp = VP(schedule="cosine")
    low, high = (sigma / alpha for alpha, sigma in (marginal_at(vp, vp.t_min), marginal_at(vp, 1.0)))
    ve = VE(sigma_min=(low / high**vp.t_min) ** (1 / (1 - vp.t_min)), sigma_max=high, t_min=vp.t_min)
    x_T = start(vp)
    samples = [
        sampler.sample(Trace(sde), sde, x_T * math.hypot(*marginal_at(sde, 1.0)), 6, torch.Generator().manual_seed(0))
        for sde in (vp, ve)
    ]
    torch.testing.assert_close(samples[0], samples[1], rtol=1e-6, atol=1e-6)


def test_second_order_samplers_meet(sde):
    """Heun and DPM-Solver++ share no code; with many steps they agree far better than either does with DDIM."""
    x_T = start(sde)
    heun, dpmpp, ddim = (
        sampler.sample(Trace(sde), sde, x_T, 150, torch.Generator()) for sampler in (Heun(), DPMpp2M(), DDIM())
    )
    assert (heun - dpmpp).abs().max() < 0.2 * (heun - ddim).abs().max()


def test_euler_is_the_first_half_of_heun_and_not_ddim(sde):
    """DDIM turns by the step's angle where Euler goes straight on: they part by the second order of that angle."""
    euler, heun, ddim = Trace(sde), Trace(sde), Trace(sde)
    for trace, sampler in ((euler, ProbabilityFlowEuler()), (heun, Heun()), (ddim, DDIM())):
        sampler.sample(trace, sde, start(sde), 8, torch.Generator())
    torch.testing.assert_close(euler.calls[1][0], heun.calls[1][0], rtol=1e-12, atol=1e-12)
    (x, t, D), (x_s, s, _) = euler.calls[:2]
    (alpha_t, sigma_t), (alpha_s, sigma_s) = marginal_at(sde, t), marginal_at(sde, s)
    n_t, n_s = math.hypot(alpha_t, sigma_t), math.hypot(alpha_s, sigma_s)
    y = x / n_t
    v = (alpha_t * y - n_t * D) / sigma_t
    angle = math.atan2(sigma_s, alpha_s) - math.atan2(sigma_t, alpha_t)
    torch.testing.assert_close(x_s / n_s, y + angle * v, rtol=1e-9, atol=1e-9)
    turned = math.cos(angle) * y + math.sin(angle) * v
    torch.testing.assert_close(ddim.calls[1][0] / n_s, turned, rtol=1e-9, atol=1e-9)

"""How fast the stochastic samplers' distribution approaches the data's, without any Monte-Carlo error.

For Gaussian data the denoiser is affine in x_t, so a sample is an affine function of the normal numbers it is made of.
Its coefficients follow from as many samples as there are numbers, and from them the exact mean and variance.
"""

import math

import pytest
import torch

from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_sde import SDEDPMpp2M
from imer_ray.diffusion.samplers.euler_maruyama import EulerMaruyama
from imer_ray.diffusion.samplers.reverse_diffusion import ReverseDiffusion
from imer_ray.diffusion.samplers.stochastic_heun import StochasticHeun
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP

MEAN, STD = 0.7, 0.6


def gaussian_denoiser(sde):
    def denoiser(x, t):
        alpha_t, sigma_t = marginal_at(sde, t)
        return MEAN + alpha_t * STD**2 / (alpha_t**2 * STD**2 + sigma_t**2) * (x - alpha_t * MEAN)

    return denoiser


def moments(sampler, sde, num_steps):
    """Mean and standard deviation of x_0 when x_T has the process's exact distribution."""
    num_samples = num_steps + 6  # more than there are numbers in one of them
    alpha_T, sigma_T = marginal_at(sde, sde.t_max)
    z = torch.randn(num_samples, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x_T = alpha_T * MEAN + math.hypot(alpha_T * STD, sigma_T) * z
    generator = torch.Generator().manual_seed(0)
    x_0 = sampler.sample(gaussian_denoiser(sde), sde, x_T, num_steps, generator)
    columns, again = [torch.ones_like(z), z], torch.Generator().manual_seed(0)
    while not torch.equal(again.get_state(), generator.get_state()):
        columns.append(torch.randn(z.shape, generator=again, dtype=torch.float64))
    numbers = torch.cat(columns, -1).squeeze(1)
    coefficients = torch.linalg.lstsq(numbers, x_0[:, 0]).solution.squeeze(1)
    torch.testing.assert_close(numbers @ coefficients, x_0[:, 0, 0], rtol=1e-8, atol=1e-8)  # affine indeed
    return coefficients[0].item(), coefficients[1:].norm().item()


def errors(sampler, sde, num_steps):
    """Of the mean, and of the standard deviation."""
    mean, std = moments(sampler, sde, num_steps)
    return abs(mean - MEAN), abs(std - STD)


# They end where what is left of the noise, sigma^2, is below the errors that are measured.
PROCESSES = [
    ImderVE(t_min=1e-6),
    VE(sigma_min=1e-3),
    VP(schedule="linear", t_min=1e-5),
    VP(schedule="cosine", t_min=1e-5, cosine_offset=0.0),
]
NAMES = ["imder_ve", "ve", "linear", "cosine"]


@pytest.mark.parametrize("sde", PROCESSES, ids=NAMES)
@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (ReverseDiffusion(), 1),
        (DDIM(eta=1.0), 1),
        (DDIM(eta=0.5), 1),
        (SDEDPMpp2M(spacing="log_snr"), 2),
        (StochasticHeun(), 2),
        (StochasticHeun(s_churn=5.0, s_tmin=0.0, s_tmax=math.inf, spacing="log_snr"), 2),
    ],
    ids=repr,
)
def test_spread_approaches_the_datas_with_the_stated_weak_order(sampler, order, sde):
    coarse, fine = (errors(sampler, sde, n)[1] for n in (64, 128))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.12)


@pytest.mark.parametrize("sde", [PROCESSES[0], *PROCESSES[2:]], ids=["imder_ve", "linear", "cosine"])
def test_euler_maruyama_is_of_weak_order_one(sde):
    """On VE the errors of two steps cancel to second order, as its noise grows by the same factor in each."""
    coarse, fine = (errors(EulerMaruyama(), sde, n) for n in (64, 128))
    assert math.log2(coarse[1] / fine[1]) == pytest.approx(1, abs=0.12)
    assert fine[0] < 1e-8 or math.log2(coarse[0] / fine[0]) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("sde", PROCESSES, ids=NAMES)
@pytest.mark.parametrize("sampler", [DDIM(eta=1.0), SDEDPMpp2M(), StochasticHeun()], ids=repr)
def test_mean_is_exact_where_the_marginals_are_kept(sampler, sde):
    """A D held fixed, extrapolated along a line of its own mean, or followed by Heun leaves E[D] = E[x_0] as it is."""
    assert errors(sampler, sde, 8)[0] < 1e-6


def test_extrapolation_pays():
    """At 16 evaluations SDE-DPM-Solver++ loses less than half of the spread that ancestral sampling loses."""
    for sde in PROCESSES:
        assert errors(SDEDPMpp2M(), sde, 16)[1] < 0.5 * errors(DDIM(eta=1.0), sde, 16)[1]

"""How fast the deterministic samplers approach the exact solution of the probability-flow ODE."""

import math

import numpy as np
import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_2m import DPMpp2M
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP

# They end where what is left of the noise, sigma^2, is below the errors that are measured.
PROCESSES = [
    ImderVE(t_min=1e-8),
    VE(sigma_min=1e-4),
    VP(schedule="linear", t_min=1e-6),
    VP(schedule="cosine", t_min=1e-6, cosine_offset=0.0),
]
MEANS, STDS, WEIGHTS = torch.tensor([-0.9, 0.8]), torch.tensor([0.5, 0.4]), torch.tensor([0.4, 0.6])


def oracle():
    return GaussianMixture(WEIGHTS.double(), MEANS.double()[:, None], STDS.double().square()[:, None, None])


def distribution_function(x, alpha_t, sigma_t):
    """P(x_t <= x) of the one-dimensional mixture."""
    std = (alpha_t**2 * STDS.double() ** 2 + sigma_t**2).sqrt()
    return (WEIGHTS.double() * torch.special.ndtr((x[..., None] - alpha_t * MEANS.double()) / std)).sum(-1)


def exact_solution(sde, x_T):
    """In one dimension the flow keeps the order of points, so x_0 is the same quantile of p_0 as x_T is of p_T."""
    quantile = distribution_function(x_T, *marginal_at(sde, sde.t_max))
    low, high = torch.full_like(x_T, -20), torch.full_like(x_T, 20)
    for _ in range(80):
        middle = (low + high) / 2
        above = distribution_function(middle, 1.0, 0.0) > quantile
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def slope(sampler, sde, num_steps):
    x_T = torch.linspace(-1.5, 1.5, 21, dtype=torch.float64)[:, None, None] * sde.prior_std
    expected = exact_solution(sde, x_T)
    errors = []
    for n in num_steps:
        x = sampler.sample(Denoiser(oracle().network(sde, "v"), sde, "v"), sde, x_T, n, torch.Generator())
        errors.append(math.log((x - expected).square().mean().sqrt()))
    return -np.polyfit(np.log(num_steps), errors, 1)[0]


@pytest.mark.parametrize("sde", PROCESSES, ids=lambda sde: getattr(sde, "schedule", type(sde).__name__))
@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (DDIM(), 1),
        (DDIM(spacing="log_snr"), 1),
        (Heun(), 2),
        (Heun(spacing="karras"), 2),
        (DPMpp2M(spacing="log_snr"), 2),
    ],
    ids=repr,
)
def test_error_falls_with_the_stated_order(sampler, order, sde):
    assert slope(sampler, sde, (32, 64, 128, 256)) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("sde", PROCESSES, ids=lambda sde: getattr(sde, "schedule", type(sde).__name__))
def test_extrapolation_along_the_angle_costs_a_logarithm(sde):
    """DPM-Solver++ extrapolates in the log-SNR, whose steps near both ends do not shrink as those of the angle do: what
    is left of order 2 is n^-2 ln n, of slope 1.8 here, still well above 1."""
    assert slope(DPMpp2M(), sde, (256, 512, 1024)) == pytest.approx(1.8, abs=0.2)

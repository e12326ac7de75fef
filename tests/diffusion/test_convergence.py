"""How fast the deterministic samplers approach the exact solution of the probability-flow ODE."""

import math

import numpy as np
import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_2m import DPMpp2M
from imer_ray.diffusion.samplers.dpmpp_2s import DPMpp2S
from imer_ray.diffusion.samplers.dpmpp_3m import DPMpp3M
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.samplers.pf_euler import ProbabilityFlowEuler
from imer_ray.diffusion.samplers.stochastic_heun import StochasticHeun
from imer_ray.diffusion.samplers.unipc import UniPC
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
        (DPMpp2S(spacing="log_snr"), 2),
        (ProbabilityFlowEuler(), 1),
        (StochasticHeun(s_churn=0.0), 2),
        (UniPC(1, spacing="log_snr"), 2),
        (UniPC(2, "bh1", spacing="log_snr"), 3),
        (UniPC(2, "bh2", spacing="log_snr"), 3),
    ],
    ids=repr,
)
def test_error_falls_with_the_stated_order(sampler, order, sde):
    assert slope(sampler, sde, (40, 160)) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("sde", PROCESSES, ids=lambda sde: getattr(sde, "schedule", type(sde).__name__))
def test_unipc_of_order_three_corrects_to_the_fourth(sde):
    """Beyond 128 steps what is left is the noise at t_min."""
    assert slope(UniPC(3, spacing="log_snr"), sde, (32, 96)) == pytest.approx(4, abs=0.35)


@pytest.mark.parametrize(("sde", "order"), [(PROCESSES[0], 2.5), *((sde, 2.8) for sde in PROCESSES[1:])], ids=repr)
def test_third_order_but_for_the_first_step(sde, order):
    """DPM-Solver++(3M) starts with one step of first order, whose error, of order 2, grows with the signal left at
    t_max: IMDer's process stops at sigma = 9.8. Half of D'', as in other implementations, would give order 2 itself."""
    assert slope(DPMpp3M(spacing="log_snr"), sde, (64, 256)) == pytest.approx(order, abs=0.2)


class Curve:
    """A denoiser whose estimate moves with lambda = ln(alpha/sigma) as a polynomial, whatever x_t is."""

    def __init__(self, sde, degree):
        self.sde, self.degree, self.calls = sde, degree, []

    def __call__(self, x, t):
        alpha_t, sigma_t = marginal_at(self.sde, t)
        self.calls.append((x, alpha_t, sigma_t))
        return torch.full_like(x, sum((1 + k) * math.log(alpha_t / sigma_t) ** k for k in range(self.degree + 1)))

    def exact(self, start, end):
        """From one call's point to the time of another: x_s = sigma_s (x_t/sigma_t + integral of e^lambda D)."""
        (x, alpha_t, sigma_t), (_, alpha_s, sigma_s) = self.calls[start], self.calls[end]
        points, weights = np.polynomial.legendre.leggauss(40)
        low, high = math.log(alpha_t / sigma_t), math.log(alpha_s / sigma_s)
        lam = (low + high) / 2 + (high - low) / 2 * points
        D = sum((1 + k) * lam**k for k in range(self.degree + 1))
        return sigma_s * (x / sigma_t + (high - low) / 2 * float(weights @ (np.exp(lam) * D)))


@pytest.mark.parametrize("spacing", ["angle", "log_snr"])
@pytest.mark.parametrize(
    ("make", "degree", "num_first"),
    [(DDIM, 0, 0), (DPMpp3M, 1, 1), (DPMpp3M, 2, 2), (lambda spacing: UniPC(3, spacing=spacing), 2, 2)],
    ids=["ddim", "3m 1", "3m 2", "unipc"],
)
def test_steps_of_order_p_are_exact_for_polynomials_below(make, degree, num_first, spacing):
    """Of any step sizes, and from the step on that knows enough estimates. (UniPC's points are predictions: it is
    asked here at x_s, which it predicts from the corrected x_t; both are exact.)"""
    sde = VP()
    curve = Curve(sde, degree)
    make(spacing=spacing).sample(curve, sde, torch.ones(1, 1, 1, dtype=torch.float64), 8, torch.Generator())
    for i in range(num_first, 7):
        if isinstance(make(spacing=spacing), UniPC) and i == num_first:
            continue  # its x_t was predicted by a step of lower order
        torch.testing.assert_close(curve.calls[i + 1][0], curve.exact(i, i + 1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sde", PROCESSES, ids=lambda sde: getattr(sde, "schedule", type(sde).__name__))
def test_extrapolation_along_the_angle_costs_a_logarithm(sde):
    """DPM-Solver++ extrapolates in the log-SNR, whose steps near both ends do not shrink as those of the angle do: what
    is left of order 2 is n^-2 ln n, of slope 1.8 here, still well above 1."""
    assert slope(DPMpp2M(), sde, (256, 1024)) == pytest.approx(1.8, abs=0.2)

"""A recurrence draws what its sampler draws, for every sampler and process; what has none is told apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.recurrence import MAX_MEMORY, recurrence_of
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_2m import DPMpp2M
from imer_ray.diffusion.samplers.dpmpp_3m import DPMpp3M
from imer_ray.diffusion.samplers.euler_maruyama import EulerMaruyama
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.samplers.predictor_corrector import PredictorCorrector
from imer_ray.diffusion.samplers.stochastic_heun import StochasticHeun
from imer_ray.diffusion.samplers.unipc import UniPC
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.testing.samplers import ORACLE

EXACT = GaussianMixture(ORACLE.weights.double(), ORACLE.means.double(), ORACLE.covariances.double())


class Given:
    """Noise that is given."""

    def __init__(self, arrays):
        self.arrays = iter(arrays)

    def standard_normal(self, shape, device, dtype):
        return next(self.arrays)


def check(sampler, sde, num_steps):
    recurrence, N = recurrence_of(sampler, sde, num_steps), sampler.num_evaluations(num_steps)
    assert recurrence is not None and len(recurrence.steps) == N
    x_T, *noise = torch.randn(1 + N, 2, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = Denoiser(EXACT.network(sde, "v"), sde, "v")
    expected = sampler.sample(denoiser, sde, x_T * sde.prior_std, num_steps, Given(noise))
    found = recurrence.sample(denoiser, x_T * sde.prior_std, noise)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_it_draws_what_the_sampler_draws(sampler, sde):
    for num_steps in (1, 2, 11):
        check(sampler, sde, num_steps)


@pytest.mark.parametrize(
    "sampler",
    [
        DDIM(eta=0.5),
        PredictorCorrector(num_corrections=3),
        StochasticHeun(s_churn=40.0, s_tmin=0.0, s_tmax=100.0),
        UniPC(order=3, variant="bh1"),
        *(DPMpp3M(spacing) for spacing in ("uniform", "log_snr", "karras")),
    ],
    ids=repr,
)
def test_so_it_does_with_other_settings(sampler, sde):
    check(sampler, sde, 11)


@pytest.mark.parametrize(
    ("sampler", "memory"), [(EulerMaruyama(), 1), (DPMpp2M(), 2), (DPMpp3M(), 3), (Heun(), 2), (UniPC(order=2), 3)]
)
def test_it_remembers_no_more_than_the_method(sampler, memory):
    assert recurrence_of(sampler, VP(), 20).memory == memory


def test_imders_hundred_steps_in_plain_numbers():
    """x + h g^2 s + sqrt(h) g z with g = 25^t and h = 0.999/99; s = (D - x)/sigma^2."""
    recurrence = recurrence_of(EulerMaruyama(), ImderVE(sigma=25.0), 100)
    h = 0.999 / 99
    assert recurrence.start == 1 and not recurrence.steps[-1].draws
    for step in recurrence.steps:
        square = h * 25.0 ** (2 * step.t)
        assert step.weights[0] == pytest.approx(square / step.sigma**2)
        assert step.keep == pytest.approx(1 - square / step.sigma**2)
        assert step.noise == pytest.approx(square**0.5 if step.draws else 0.0)


@pytest.mark.slow
def test_a_thousand_steps_have_one():
    check(DDIM(eta=1.0), VP(), 1000)


@dataclasses.dataclass(frozen=True)
class Strange:
    """Five steps of x + change(x, estimates so far, source)."""

    change: object

    def sample(self, denoiser, sde, x_T, num_steps, generator):
        x, estimates = x_T, []
        for t in torch.linspace(1, 0.1, 12).tolist():
            estimates.append(denoiser(x, t))
            x = x + self.change(x, estimates, lambda: generator.standard_normal(x_T.shape, "cpu", x_T.dtype))
        return x


@pytest.mark.parametrize(
    "change",
    [
        lambda x, estimates, z: x.sin(),
        lambda x, estimates, z: x / x.abs().mean(),
        lambda x, estimates, z: z() * x,
        lambda x, estimates, z: z() + 2 * z(),
        lambda x, estimates, z: estimates[0] if len(estimates) == MAX_MEMORY + 2 else estimates[-1],
    ],
    ids=["not linear", "of norms", "of noise times x", "two arrays of noise", "a long memory"],
)
def test_another_sampler_has_none(change):
    assert recurrence_of(Strange(lambda x, estimates, z: 0.5 * estimates[-1] + z()), VP(), 12) is not None
    assert recurrence_of(Strange(change), VP(), 12) is None

"""Samplers that must go through the same points, step by step, as the schedulers of the library `diffusers`.

Its schedulers are handed the noise levels of our time grid and the oracle's estimate of x_0, so that nothing but the
formula of a step is compared. Some compute in single precision: 1e-5 allows for that, over all steps.
"""

import functools
import importlib
import math

import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_2m import DPMpp2M
from imer_ray.diffusion.samplers.dpmpp_2s import DPMpp2S
from imer_ray.diffusion.samplers.dpmpp_3m import DPMpp3M
from imer_ray.diffusion.samplers.dpmpp_sde import SDEDPMpp2M
from imer_ray.diffusion.samplers.predictor_corrector import PredictorCorrector
from imer_ray.diffusion.samplers.stochastic_heun import StochasticHeun
from imer_ray.diffusion.samplers.unipc import UniPC
from imer_ray.diffusion.sdes.flow import Flow
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.time_grid import nodes

ORACLE = GaussianMixture(
    weights=torch.tensor([0.6, 0.4], dtype=torch.float64),
    means=torch.tensor([[1.0, 0.5], [-1.2, -0.6]], dtype=torch.float64),
    covariances=torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.2]]], dtype=torch.float64),
)
N = 10
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def library(name, *arguments, **settings):
    """A scheduler of the library, whose import takes seconds: each test process collects this file, one runs it."""
    return getattr(importlib.import_module("diffusers"), name)(*arguments, **settings)


def trace(sampler, sde, x_T, num_steps=N, seed=3):
    """Each point and time at which the sampler asks for an estimate of x_0, and the estimate."""
    denoiser, calls = Denoiser(ORACLE.network(sde, "v"), sde, "v"), []

    def recorder(x, t):
        calls.append((x, t, denoiser(x, t)))
        return calls[-1][2]

    x_0 = sampler.sample(recorder, sde, x_T, num_steps, torch.Generator().manual_seed(seed))
    assert x_0 is calls[-1][2]
    return calls


def start(sde, dtype=torch.float64):
    return torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(7)).to(dtype) * sde.prior_std


def ratios(sde, spacing, num_steps=N):
    return [node.ratio for node in nodes(sde, num_steps, spacing)[:-1]]


def given_levels(scheduler, levels):
    """A scheduler that walks through these sigma/alpha, and then to 0."""
    scheduler.set_timesteps(len(levels))
    scheduler.sigmas = torch.tensor([*levels, 0.0], dtype=torch.float64)
    scheduler.set_begin_index(0)
    return scheduler


def given_alphas(scheduler, levels):
    """A scheduler that knows these sigma/alpha as all its times, for those without ``sigmas``."""
    scheduler.alphas_cumprod = torch.tensor([1 / (1 + r**2) for r in reversed(levels)], dtype=torch.float64)
    scheduler.set_timesteps(len(levels))
    return scheduler


def check(calls, scheduler, keywords=lambda i: {}, to_output=lambda x, t, D: D):
    """From the sampler's first point the scheduler reaches its others, with the same estimates at each."""
    x = calls[0][0]
    for i, ((x_t, t, D), (x_s, _, _)) in enumerate(zip(calls[:-1], calls[1:], strict=True)):
        torch.testing.assert_close(x, x_t, rtol=1e-5, atol=1e-5)
        x = scheduler.step(to_output(x_t, t, D), scheduler.timesteps[i], x, **keywords(i)).prev_sample
        torch.testing.assert_close(x, x_s, rtol=1e-5, atol=1e-5)
    return x


SDE = VP()


@pytest.mark.parametrize("spacing", ["angle", "log_snr"])
@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        (DDIM, functools.partial(library, "DPMSolverMultistepScheduler", solver_order=1)),
        (DDIM, functools.partial(library, "DPMSolverSinglestepScheduler", solver_order=1)),
        (DPMpp2M, functools.partial(library, "DPMSolverMultistepScheduler", lower_order_final=False)),
        (DPMpp2S, functools.partial(library, "DPMSolverSinglestepScheduler", lower_order_final=True)),
        *(
            (
                lambda spacing, order=order, variant=variant: UniPC(order, variant, spacing),
                functools.partial(
                    library, "UniPCMultistepScheduler", solver_order=order, solver_type=variant, lower_order_final=False
                ),
            )
            for order in (1, 2, 3)
            for variant in ("bh1", "bh2")
        ),
    ],
    ids=["1m", "1s", "2m", "2s", *(f"unipc {order} {variant}" for order in (1, 2, 3) for variant in ("bh1", "bh2"))],
)
def test_solvers_of_the_probability_flow(sampler, scheduler, spacing):
    scheduler = scheduler()
    scheduler.register_to_config(prediction_type="sample", final_sigmas_type="zero")
    calls = trace(sampler(spacing=spacing), SDE, start(SDE))
    check(calls, given_levels(scheduler, ratios(SDE, spacing, len(calls))))


@pytest.mark.parametrize("spacing", ["angle", "log_snr"])
def test_third_order_but_for_the_parabola(spacing):
    """The library takes half of D'' where Taylor's formula has all of it; the difference is what is left of phi_3."""
    calls = trace(DPMpp3M(spacing=spacing), SDE, start(SDE))
    grid = nodes(SDE, N, spacing)
    for i in range(N - 1):
        scheduler = library(
            "DPMSolverMultistepScheduler",
            solver_order=3,
            solver_type="heun",
            prediction_type="sample",
            lower_order_final=False,
        )
        scheduler = given_levels(scheduler, ratios(SDE, spacing))
        for k in range(max(i - 2, 0), i + 1):  # it steps from our own point, with the estimates before it
            scheduler.set_begin_index(k)
            scheduler._step_index = None
            x, t, D = calls[k]
            x_s = scheduler.step(D, scheduler.timesteps[k], x).prev_sample
        if i >= 2:
            lam = [grid[k].half_log_snr for k in range(i - 2, i + 2)]
            (D_0, D_1, D_2), h = (calls[k][2] for k in (i, i - 1, i - 2)), lam[3] - lam[2]
            slopes = (D_0 - D_1) / (lam[2] - lam[1]), (D_1 - D_2) / (lam[1] - lam[0])
            curvature = 2 * (slopes[0] - slopes[1]) / (lam[2] - lam[0])
            x_s = x_s + grid[i + 1].alpha * (h**2 / 2 - h + 1 - math.exp(-h)) * curvature / 2
        torch.testing.assert_close(calls[i + 1][0], x_s, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(eta):
    scheduler = library("DDIMScheduler", N, clip_sample=False, prediction_type="sample")
    generator = torch.Generator().manual_seed(3)
    calls = trace(DDIM(eta), SDE, start(SDE))
    check(calls, given_alphas(scheduler, ratios(SDE, "angle")), lambda i: {"eta": eta, "generator": generator})


def test_ddim_with_all_noise_is_ddpm():
    scheduler = library("DDPMScheduler", N, clip_sample=False, prediction_type="sample")
    generator = torch.Generator().manual_seed(3)
    calls = trace(DDIM(1.0), SDE, start(SDE))
    check(calls, given_alphas(scheduler, ratios(SDE, "angle")), lambda i: {"generator": generator})


@pytest.mark.parametrize(("sampler", "order"), [(SDEDPMpp2M(), 2), (DDIM(1.0), 1)], ids=repr)
def test_sde_form(sampler, order):
    scheduler = library(
        "DPMSolverMultistepScheduler",
        solver_order=order,
        algorithm_type="sde-dpmsolver++",
        prediction_type="sample",
        lower_order_final=False,
    )
    generator = torch.Generator().manual_seed(3)
    check(
        trace(sampler, SDE, start(SDE)),
        given_levels(scheduler, ratios(SDE, "angle")),
        lambda i: {"variance_noise": torch.randn(4, 3, 2, generator=generator, dtype=torch.float64)},
    )


def test_eulers_method_along_sigma_is_ddim():
    sde = VE()
    scheduler = given_levels(library("EulerDiscreteScheduler", prediction_type="sample"), ratios(sde, "karras"))
    scheduler.is_scale_input_called = True
    check(trace(DDIM(spacing="karras"), sde, start(sde)), scheduler)


def test_eulers_method_along_the_linear_path_is_ddim():
    sde = Flow()
    scheduler = given_levels(
        library("FlowMatchEulerDiscreteScheduler"), [node.t for node in nodes(sde, N, "uniform")[:-1]]
    )
    calls = trace(DDIM(spacing="uniform"), sde, start(sde))
    check(calls, scheduler, to_output=lambda x, t, D: (x - D) / t)


def test_heun_along_sigma():
    sde = VE()
    levels = torch.tensor(ratios(sde, "karras"), dtype=torch.float64)
    scheduler = given_levels(library("HeunDiscreteScheduler", prediction_type="sample"), levels.tolist())
    scheduler.sigmas = torch.cat([levels[:1], levels[1:].repeat_interleave(2), torch.zeros(1)])
    check(trace(StochasticHeun(s_churn=0.0), sde, start(sde)), scheduler)


def test_churn():
    """The library has it in Euler's method, which is the first half of our step, up to the second evaluation."""
    sde, settings = VE(), {"s_churn": 3.0, "s_tmin": 0.05, "s_tmax": 5.0, "s_noise": 1.01}
    calls = trace(StochasticHeun(**settings), sde, start(sde))
    scheduler = given_levels(library("EulerDiscreteScheduler", prediction_type="sample"), ratios(sde, "karras"))
    scheduler.is_scale_input_called = True
    grid, generator, y, num_churned = nodes(sde, N, "karras"), torch.Generator().manual_seed(3), start(sde), 0
    for i in range(N - 1):
        (y_hat, t, D), (y_s, _, D_s) = calls[2 * i], calls[2 * i + 1]
        reached = scheduler.step(D, scheduler.timesteps[i], y, **settings, generator=generator).prev_sample
        torch.testing.assert_close(reached, y_s, rtol=1e-5, atol=1e-5)
        num_churned += t > grid[i].t
        r_hat, r_s = sde.marginal_prob(torch.tensor(t, dtype=torch.float64))[1], grid[i + 1].ratio
        y = y_hat + (r_s - r_hat) / 2 * ((y_hat - D) / r_hat + (y_s - D_s) / r_s)
    assert num_churned == sum(0.05 <= node.ratio <= 5 for node in grid[: N - 1]) > 2


@pytest.mark.parametrize("num_corrections", [1, 2])
def test_predictor_corrector(num_corrections):
    """Clip by clip, as the library averages a step's norms over the batch; in single precision, in which it draws the
    corrector's noise."""
    for clip in start(VE(), torch.float32):
        check_predictor_corrector(num_corrections, clip[None])


def check_predictor_corrector(num_corrections, x_T):
    sde, generator = VE(), torch.Generator().manual_seed(3)
    calls = trace(PredictorCorrector(0.16, num_corrections), sde, x_T)
    scheduler, grid = library("ScoreSdeVeScheduler", snr=0.16), nodes(sde, N, "angle")[:-1]
    scheduler.timesteps = torch.arange(N)
    scheduler.discrete_sigmas = torch.tensor([node.sigma for node in reversed(grid)])

    def score(k):
        x, t, D = calls[k]
        return (D - x) / float(sde.marginal_prob(torch.tensor(t, dtype=torch.float64))[1]) ** 2

    for i in range(N - 1):
        k = i * (num_corrections + 1)
        level = (N - 1 - i + 0.5) / (N - 1)  # rounded down to an index of discrete_sigmas
        x = scheduler.step_pred(score(k), level, calls[k][0], generator=generator).prev_sample
        torch.testing.assert_close(x, calls[k + 1][0], rtol=1e-5, atol=1e-5)
        for j in range(k + 1, k + num_corrections + 1):
            x = scheduler.step_correct(score(j), calls[j][0], generator=generator).prev_sample
            torch.testing.assert_close(x, calls[j + 1][0], rtol=1e-5, atol=1e-5)

"""Each weighting as what it is: a weight on the squared error of x_0; conf/diffusion/weighting is walked."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.loss import denoising_loss
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS, preconditioning
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.weighting import EDM, SNR, X0, Likelihood, MinSNR, Uniform

WEIGHTINGS = [build(option("diffusion/weighting", name)) for name in options("diffusion/weighting")]
UNIFORM_IN = [("x0", X0()), ("eps", SNR()), ("score", SNR()), ("v", EDM()), ("edm", EDM())]
ORACLE = GaussianMixture(
    weights=torch.tensor([0.6, 0.4]),
    means=torch.tensor([[1.0, 0.5], [-1.2, -0.6]]),
    covariances=torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.2]]]),
)


def times(sde, n=64):
    return torch.linspace(sde.t_min, sde.t_max, n, dtype=torch.float64, requires_grad=True)


def x0_weight(weighting, sde, t, parametrization, sigma_data=1.0):
    _, c_out = preconditioning(parametrization, *sde.marginal_prob(t), sigma_data)
    weight = weighting.output_weight(sde, t, c_out, sigma_data) / c_out**2
    return torch.as_tensor(weight, dtype=t.dtype).expand(t.shape)


def snr(sde, t):
    alpha_t, sigma_t = sde.marginal_prob(t)
    return (alpha_t / sigma_t) ** 2


def beside(network, step):
    return lambda x, t: network(x, t) + step * x.sign()


def batch(sde, num_clips=64, num_frames=20, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x_0 = ORACLE.sample(num_clips, num_frames, generator).to(dtype)
    eps = torch.randn(x_0.shape, generator=generator).to(dtype)
    frames = torch.ones(num_clips, num_frames, dtype=torch.bool)
    return x_0, times(sde, num_clips).detach().to(dtype), eps, frames


@pytest.mark.parametrize("weighting", [w for w in WEIGHTINGS if w != Uniform()], ids=repr)
def test_weight_of_x0_does_not_depend_on_what_the_network_predicts(weighting, sde):
    t = times(sde)
    weights = [x0_weight(weighting, sde, t, name) for name in PARAMETRIZATIONS]
    for weight in weights[1:]:
        torch.testing.assert_close(weight, weights[0], rtol=1e-9, atol=0)
    assert (weights[0] > 0).all() and weights[0].isfinite().all()


@pytest.mark.parametrize(("parametrization", "weighting"), UNIFORM_IN)
def test_uniform_is_another_weighting_by_name(parametrization, weighting, sde):
    t = times(sde)
    expected = x0_weight(weighting, sde, t, parametrization)
    torch.testing.assert_close(x0_weight(Uniform(), sde, t, parametrization), expected, rtol=1e-9, atol=0)


def test_uniform_velocity_weighs_by_noise_and_signal_together(sde):
    """(1 + alpha/sigma)^2: between x_0's 1 and eps's SNR."""
    t = times(sde)
    torch.testing.assert_close(x0_weight(Uniform(), sde, t, "velocity"), (1 + snr(sde, t).sqrt()) ** 2)


@given(st.floats(0.1, 10.0), st.floats(0.0, 1.0))
def test_edm_weight_is_karras_lambda_and_cancels_its_output_scale(sigma_data, t):
    sde, t = VE(), torch.tensor([t], dtype=torch.float64)
    _, sigma_t = sde.marginal_prob(t)
    expected = (sigma_t**2 + sigma_data**2) / (sigma_t * sigma_data) ** 2
    torch.testing.assert_close(x0_weight(EDM(), sde, t, "eps", sigma_data), expected)
    _, c_out = preconditioning("edm", 1.0, sigma_t, sigma_data)
    torch.testing.assert_close(EDM().output_weight(sde, t, c_out, sigma_data), torch.ones_like(t))


def test_min_snr_is_the_smaller(sde):
    t = times(sde)
    expected = torch.minimum(snr(sde, t), torch.tensor(5.0, dtype=t.dtype))
    torch.testing.assert_close(x0_weight(MinSNR(), sde, t, "v"), expected)
    never, always = MinSNR(gamma=1e12), MinSNR(gamma=1e-12)
    torch.testing.assert_close(x0_weight(never, sde, t, "v"), x0_weight(SNR(), sde, t, "v"))
    torch.testing.assert_close(x0_weight(always, sde, t, "v"), 1e-12 * x0_weight(X0(), sde, t, "v"))


def test_likelihood_weight_is_the_fall_of_the_snr(sde):
    """-d SNR/dt by automatic differentiation of the marginals: so time is integrated out in favour of the SNR."""
    t = times(sde)
    alpha_t, sigma_t = sde.marginal_prob(t)
    (slope,) = torch.autograd.grad(((alpha_t + 0 * t) / sigma_t).square().sum(), t)
    torch.testing.assert_close(x0_weight(Likelihood(), sde, t, "v"), -slope, rtol=1e-8, atol=0)


def test_likelihood_weighs_the_score_by_g_squared(sde):
    """An error e of x_0 is an error alpha/sigma^2 e of the score."""
    t = times(sde)
    alpha_t, sigma_t = sde.marginal_prob(t)
    expected = sde.diffusion(t) ** 2 * (alpha_t / sigma_t**2) ** 2
    torch.testing.assert_close(x0_weight(Likelihood(), sde, t, "score"), expected, rtol=1e-9, atol=0)


def test_the_likelihood_weighted_loss_of_the_best_network_is_information():
    """Half of it, over time, is what x at t_min says of x_0 beyond what x at t_max does: for x_0 ~ N(0, s^2), on which
    I(x_0; x_t) = ln(1 + s^2 SNR)/2 (Guo et al., 2005, Mutual Information and Minimum Mean-Square Error)."""
    sde, s = VP(schedule="linear", t_min=1e-3), 0.7
    t = torch.linspace(sde.t_min, sde.t_max, 100_001, dtype=torch.float64)
    error = s**2 / (1 + s**2 * snr(sde, t))  # Var[x_0 | x_t]
    gained = 0.5 * torch.trapezoid(x0_weight(Likelihood(), sde, t, "v") * error, t).item()
    first, last = (0.5 * math.log1p(s**2 * (a / n) ** 2) for a, n in (marginal_at(sde, end) for end in (1e-3, 1.0)))
    assert gained == pytest.approx(first - last, rel=1e-4)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
def test_the_loss_is_the_weighted_error_of_x0(weighting, sde):
    x_0, t, eps, frames = batch(sde, dtype=torch.float64)
    alpha_t, sigma_t = (value[:, None, None] for value in sde.marginal_prob(t))
    x_t = alpha_t * x_0 + sigma_t * eps
    for name in PARAMETRIZATIONS:
        c_skip, c_out = preconditioning(name, alpha_t, sigma_t)
        loss = denoising_loss(lambda x, t: x.sin(), sde, name, x_0, t, eps, frames, False, weighting)
        error = (c_skip * x_t + c_out * x_t.sin() - x_0).square().mean((1, 2))
        torch.testing.assert_close(loss, x0_weight(weighting, sde, t, name) * error, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
def test_the_oracle_has_the_smallest_loss(weighting, sde):
    """At every time, against a step of 0.5 towards or away from x_t: a positive weight moves no optimum. The step costs
    0.25, of which chance takes 0.04 (1,000 numbers a time)."""
    x_0, t, eps, frames = batch(sde, num_clips=16, num_frames=500)
    for name in ("x0", "velocity"):
        best, *others = (
            denoising_loss(beside(ORACLE.network(sde, name), d), sde, name, x_0, t, eps, frames, True, weighting)
            for d in (0.0, 0.5, -0.5)
        )
        assert all((best < other).all() for other in others)
        assert (best >= 0).all() and best.isfinite().all()


@pytest.mark.parametrize("time_sampling", options("diffusion/time_sampling"))
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
def test_training_ends_in_the_same_network_whatever_is_weighted_and_drawn(weighting, time_sampling):
    """eps = (k_0 + k_1 sigma_t + k_2 alpha_t) x_t holds the best network of unit data, k = (0, 1, 0), and its loss is
    quadratic in k: one Newton step trains it."""
    sde, generator = VP(t_min=0.1), torch.Generator().manual_seed(0)
    t = build(option("diffusion/time_sampling", time_sampling)).sample(sde, 20_000, generator)
    x_0, eps = torch.randn(2, 20_000, 1, 8, generator=generator)
    frames = torch.ones(20_000, 1, dtype=torch.bool)

    def loss(k):
        def network(x, t):
            alpha_t, sigma_t = (value[:, None, None] for value in sde.marginal_prob(t))
            return (k[0] + k[1] * sigma_t + k[2] * alpha_t) * x

        return denoising_loss(network, sde, "eps", x_0, t, eps, frames, weighting=weighting).mean()

    k = torch.zeros(3)
    gradient, hessian = torch.autograd.functional.jacobian(loss, k), torch.autograd.functional.hessian(loss, k)
    k = -torch.linalg.solve(hessian.double(), gradient.double())
    alpha_t, sigma_t = sde.marginal_prob(torch.linspace(0.1, 0.9, 9, dtype=torch.float64))
    torch.testing.assert_close(k[0] + k[1] * sigma_t + k[2] * alpha_t, sigma_t, rtol=0, atol=0.05)


def test_the_default_loss_is_the_plain_one():
    """To the last bit, so that curves from before there were weightings come out the same."""
    sde = VP()
    x_0, t, eps, frames = batch(sde)
    frames[:, 15:] = False
    alpha_t, sigma_t = (value[:, None, None] for value in sde.marginal_prob(t))
    x = (alpha_t * x_0 + sigma_t * eps) * (alpha_t**2 + sigma_t**2) ** -0.5
    error = (x.sin() - (alpha_t * eps - sigma_t * x_0) / (alpha_t**2 + sigma_t**2) ** 0.5).square().mean(-1)
    expected = (error * frames).sum(-1) / frames.sum(-1)
    assert torch.equal(denoising_loss(lambda x, t: x.sin(), sde, "v", x_0, t, eps, frames), expected)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
def test_single_precision_is_enough(weighting, sde):
    t = times(sde).detach()
    for name in PARAMETRIZATIONS:
        single, double = x0_weight(weighting, sde, t.float(), name), x0_weight(weighting, sde, t.float().double(), name)
        torch.testing.assert_close(single.double(), double, rtol=2e-4, atol=0)


def test_gamma_out_of_range_is_refused():
    for gamma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="gamma"):
            MinSNR(gamma=gamma)


def test_marginals_are_those_of_the_batch():
    """The weight of a clip is that of its own time."""
    sde, t = VP(), torch.tensor([0.2, 0.8])
    x_0, eps = torch.zeros(2, 2, 3, 1)
    frames = torch.ones(2, 3, dtype=torch.bool)
    loss = denoising_loss(lambda x, t: torch.ones_like(x), sde, "x0", x_0, t, eps, frames, weighting=SNR())
    expected = [(a / s) ** 2 for a, s in (marginal_at(sde, 0.2), marginal_at(sde, 0.8))]
    assert loss.tolist() == pytest.approx(expected, rel=1e-5)

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.diffusion.parametrization import PARAMETRIZATIONS, from_signal_and_noise, from_x0, preconditioning, to_x0

scales = st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 50.0))


def signal_and_noise():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64).unbind()


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@given(scales)
def test_the_target_stands_for_the_signal(parametrization, scale):
    (alpha_t, sigma_t), (x_0, eps) = scale, signal_and_noise()
    F = from_signal_and_noise(parametrization, x_0, eps, alpha_t, sigma_t)
    x_t = alpha_t * x_0 + sigma_t * eps
    torch.testing.assert_close(to_x0(parametrization, F, x_t, alpha_t, sigma_t), x_0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("destination", PARAMETRIZATIONS)
@pytest.mark.parametrize("source", PARAMETRIZATIONS)
@given(scales)
def test_there_and_back(source, destination, scale):
    alpha_t, sigma_t = scale
    F, x_t = signal_and_noise()
    other = from_x0(destination, to_x0(source, F, x_t, alpha_t, sigma_t), x_t, alpha_t, sigma_t)
    again = from_x0(source, to_x0(destination, other, x_t, alpha_t, sigma_t), x_t, alpha_t, sigma_t)
    torch.testing.assert_close(again, F, rtol=1e-6, atol=1e-6)


def test_names_mean_what_the_papers_say():
    x_0, eps = signal_and_noise()
    alpha_t, sigma_t = math.cos(0.7), math.sin(0.7)
    assert torch.equal(from_signal_and_noise("eps", x_0, eps, alpha_t, sigma_t), eps)
    assert torch.equal(from_signal_and_noise("x0", x_0, eps, alpha_t, sigma_t), x_0)
    # Salimans and Ho: v = alpha eps - sigma x_0 and x_0 = alpha x_t - sigma v, where alpha^2 + sigma^2 = 1.
    v = from_signal_and_noise("v", x_0, eps, alpha_t, sigma_t)
    torch.testing.assert_close(v, alpha_t * eps - sigma_t * x_0)
    torch.testing.assert_close(alpha_t * (alpha_t * x_0 + sigma_t * eps) - sigma_t * v, x_0)
    # The score of N(alpha x_0, sigma^2) at x_t is -(x_t - alpha x_0)/sigma^2 = -eps/sigma.
    score = from_signal_and_noise("score", x_0, eps, alpha_t, sigma_t) / sigma_t
    torch.testing.assert_close(score, -(sigma_t * eps) / sigma_t**2)


@given(scales, st.floats(0.1, 10.0))
def test_v_does_not_depend_on_the_scale_of_x_t(scale, factor):
    """Scaling alpha and sigma alike (VP into VE) changes neither the target nor what it stands for."""
    (alpha_t, sigma_t), (x_0, eps) = scale, signal_and_noise()
    v = from_signal_and_noise("v", x_0, eps, alpha_t, sigma_t)
    torch.testing.assert_close(from_signal_and_noise("v", x_0, eps, factor * alpha_t, factor * sigma_t), v)


@given(st.floats(1.0, 1e4))
def test_v_bounds_how_much_an_error_of_the_network_grows(ratio):
    """|dx_0/dF| is sigma/alpha for eps, without bound, and at most 1 for v."""
    assert abs(preconditioning("v", 1.0, ratio)[1]) <= 1
    assert abs(preconditioning("eps", 1.0, ratio)[1]) == pytest.approx(ratio)


def test_velocity_is_the_slope_of_the_straight_path():
    x_0, eps = signal_and_noise()
    t = torch.tensor(0.3, dtype=torch.float64)
    _, velocity = torch.autograd.functional.jvp(lambda t: (1 - t) * x_0 + t * eps, t, torch.ones_like(t))
    torch.testing.assert_close(from_signal_and_noise("velocity", x_0, eps, 1 - t, t), velocity)


@given(scales)
def test_velocity_is_that_of_the_linear_path_of_equal_noise(scale):
    """x_t/(alpha + sigma) = (1 - tau) x_0 + tau eps at tau = sigma/(alpha + sigma): the same F, and the same x_0."""
    (alpha_t, sigma_t), (x_0, eps) = scale, signal_and_noise()
    tau, F = sigma_t / (alpha_t + sigma_t), eps - x_0
    on_the_line = to_x0("velocity", F, (1 - tau) * x_0 + tau * eps, 1 - tau, tau)
    torch.testing.assert_close(on_the_line, x_0)
    torch.testing.assert_close(to_x0("velocity", F, alpha_t * x_0 + sigma_t * eps, alpha_t, sigma_t), x_0)


@given(scales)
def test_velocity_and_v_never_amplify_an_error(scale):
    for parametrization in ("v", "velocity"):
        assert abs(preconditioning(parametrization, *scale)[1]) <= 1


@given(scales)
def test_edm_of_unit_data_is_v_but_for_the_sign(scale):
    (alpha_t, sigma_t), (x_0, eps) = scale, signal_and_noise()
    v, edm = (from_signal_and_noise(name, x_0, eps, alpha_t, sigma_t) for name in ("v", "edm"))
    torch.testing.assert_close(edm, -v)
    (c_skip, c_out), (skip, out) = (preconditioning(name, alpha_t, sigma_t) for name in ("v", "edm"))
    assert (skip, out) == (pytest.approx(c_skip), pytest.approx(-c_out))


@given(scales, st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_edm_sees_sigma_over_alpha_alone(scale, factor, sigma_data):
    """So that Karras's formulas, written for alpha = 1, hold for x_t/alpha_t of any process."""
    (alpha_t, sigma_t), (x_0, eps) = scale, signal_and_noise()
    F, other = (
        from_signal_and_noise("edm", x_0, eps, k * alpha_t, k * sigma_t, sigma_data) for k in (1 / alpha_t, factor)
    )
    torch.testing.assert_close(F, other)
    x_t = alpha_t * x_0 + sigma_t * eps
    torch.testing.assert_close(to_x0("edm", F, x_t, alpha_t, sigma_t, sigma_data), x_0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(from_x0("edm", x_0, x_t, alpha_t, sigma_t, sigma_data), F, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("scale", [(1.0, 0.01), (1.0, 50.0), (0.6, 0.8)])
def test_edm_targets_have_unit_variance(scale, sigma_data):
    x_0, eps = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
    F = from_signal_and_noise("edm", sigma_data * x_0, eps, *scale, sigma_data)
    assert F.std().item() == pytest.approx(1, abs=0.015)  # six standard errors


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="eps, x0, v, score"):
        preconditioning("epsilon", 1.0, 1.0)

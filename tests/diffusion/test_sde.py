import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.edm import EDM
from imer_ray.diffusion.sdes.flow import Flow
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.sub_vp import SubVP
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP


def times(sde, n=201):
    return torch.linspace(sde.t_min, sde.t_max, n, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("t", "std"), [(1.0, 9.845), (0.5, 1.931), (0.1, 0.375), (0.001, 0.0317)])
def test_std_is_the_one_measured_on_imder(t, std):
    alpha_t, sigma_t = ImderVE().marginal_prob(torch.tensor(t))
    assert alpha_t == 1
    assert sigma_t.item() == pytest.approx(std, rel=2e-3)  # the measured values have three or four digits


def test_ve_levels_are_score_sdes():
    sde = VE(sigma_min=0.01, sigma_max=50.0)
    assert marginal_at(sde, 1.0) == (1.0, pytest.approx(50.0))
    assert marginal_at(sde, 0.5) == (1.0, pytest.approx(math.sqrt(0.01 * 50.0)))


def test_vp_linear_ends_where_songs_does():
    alpha_1, _ = marginal_at(VP(schedule="linear"), 1.0)
    assert alpha_1**2 == pytest.approx(math.exp(-(0.1 + 20.0) / 2))


def test_vp_cosine_is_nichols_but_for_the_normalisation_and_the_cap():
    sde = VP(schedule="cosine", noise_to_signal_max=1e9)
    for t in (0.1, 0.5, 0.9):
        assert marginal_at(sde, t)[0] == pytest.approx(math.cos((t + 0.008) / 1.008 * math.pi / 2), abs=1e-7)


@pytest.mark.parametrize(
    "sde",
    [
        VP(schedule="cosine", noise_to_signal_max=40.0),
        VP(schedule="shifted_cosine", shift=0.3, noise_to_signal_max=40.0),
        Flow(noise_to_signal_max=40.0),
    ],
    ids=["cosine", "shifted_cosine", "flow"],
)
def test_the_cap_holds_the_noise_to_signal_ratio(sde):
    alpha_1, sigma_1 = marginal_at(sde, sde.t_max)
    assert sigma_1 / alpha_1 == pytest.approx(40.0)


@given(st.floats(0.05, 4.0), st.floats(0.01, 0.99))
def test_shifted_cosine_moves_the_log_snr_of_a_cosine(shift, t):
    """ln SNR(t) = ln SNR_cosine(t) + 2 ln(shift), with a cosine that ends at the same ratio once it is moved."""
    shifted = VP(schedule="shifted_cosine", shift=shift, noise_to_signal_max=200.0)
    cosine = VP(schedule="cosine", noise_to_signal_max=200.0 * shift)
    (alpha_t, sigma_t), (alpha, sigma) = marginal_at(shifted, t), marginal_at(cosine, t)
    log_snr = 2 * math.log(alpha_t / sigma_t)
    assert log_snr == pytest.approx(2 * math.log(alpha / sigma) + 2 * math.log(shift), abs=1e-9)


def test_a_shift_of_one_is_no_shift():
    t = torch.linspace(0.001, 1, 50, dtype=torch.float64)
    cosine, shifted = VP(schedule="cosine"), VP(schedule="shifted_cosine", shift=1.0)
    torch.testing.assert_close(shifted.marginal_prob(t), cosine.marginal_prob(t))
    torch.testing.assert_close(shifted.diffusion(t), cosine.diffusion(t))


@given(st.floats(1e-3, 1.0))
def test_sub_vp_has_vps_signal_and_the_square_of_its_noise(t):
    (alpha_t, sigma_t), (alpha, sigma) = marginal_at(SubVP(), t), marginal_at(VP(schedule="linear"), t)
    assert alpha_t == pytest.approx(alpha)
    assert sigma_t == pytest.approx(sigma**2)
    # Song et al.: g^2 = beta (1 - exp(-2 int beta)), which VP's beta has in the limit.
    beta, integral = 0.1 + t * 19.9, 0.1 * t + 19.9 * t**2 / 2
    g = SubVP().diffusion(torch.tensor(t, dtype=torch.float64)).item()
    assert g**2 == pytest.approx(beta * (1 - math.exp(-2 * integral)))


def test_flow_is_the_straight_line():
    sde, t = Flow(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    alpha_t, sigma_t = sde.marginal_prob(t)
    assert torch.equal(alpha_t, 1 - t) and torch.equal(sigma_t, t)
    assert marginal_at(sde, sde.t_max) == (pytest.approx(1 / 101), pytest.approx(100 / 101))
    assert math.isfinite(sde.drift_coefficient(torch.tensor(sde.t_max)).item())


def test_even_times_of_edm_are_karras_sampling_steps():
    """sigma_i of Karras et al., equation 5 with N = 18, read from t = 1 down."""
    levels = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    _, sigma_t = EDM().marginal_prob(torch.linspace(1, 0, 18, dtype=torch.float64))
    assert sigma_t.tolist() == pytest.approx(levels)


def test_edm_of_large_rho_is_the_geometric_ve():
    for t in (0.1, 0.5, 0.9):
        expected = marginal_at(VE(sigma_min=0.01, sigma_max=20.0), t)
        # What rho = 100 leaves is (ln 2000)^2 t (1 - t)/(2 rho) of ln sigma.
        assert marginal_at(EDM(sigma_min=0.01, sigma_max=20.0, rho=100.0), t)[1] == pytest.approx(expected[1], rel=0.09)


def test_drift_is_the_growth_of_the_mean(sde):
    """d alpha/dt = f alpha, the equation of the first moment (Sarkka and Solin, 2019, equation 5.50)."""
    t = times(sde)
    alpha_t, _ = sde.marginal_prob(t)
    (slope,) = torch.autograd.grad((alpha_t + 0 * t).sum(), t)  # alpha may not depend on t
    torch.testing.assert_close(slope, sde.drift_coefficient(t) * alpha_t, rtol=1e-9, atol=1e-9)


def test_diffusion_is_the_growth_of_the_variance(sde):
    """d sigma^2/dt = 2 f sigma^2 + g^2, the equation of the second moment (equation 5.51)."""
    t = times(sde)
    _, sigma_t = sde.marginal_prob(t)
    (slope,) = torch.autograd.grad(sigma_t.square().sum(), t)
    expected = 2 * sde.drift_coefficient(t) * sigma_t**2 + sde.diffusion(t) ** 2
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-9)


def test_many_small_forward_steps_reach_the_marginal(sde):
    """Simulating dx = f x dt + g dw from x_0 = 1 gives N(alpha_t, sigma_t^2), started from the marginal at t_min."""
    generator = torch.Generator().manual_seed(0)
    t = torch.linspace(sde.t_min, 0.9 * sde.t_max, 401, dtype=torch.float64)
    alpha, sigma = (v.tolist() for v in sde.marginal_prob(t))
    f, g, h = sde.drift_coefficient(t).tolist(), sde.diffusion(t).tolist(), (t[1] - t[0]).item()
    x = alpha[0] + sigma[0] * torch.randn(20_000, generator=generator)
    for i in range(400):
        x = x + h * f[i] * x + math.sqrt(h) * g[i] * torch.randn(20_000, generator=generator)
    # Standard errors are sigma/141 and sigma/200; Euler steps leave up to 3 % of sigma.
    assert x.mean().item() == pytest.approx(alpha[-1], abs=0.03 * sigma[-1])
    assert x.std().item() == pytest.approx(sigma[-1], rel=0.06)


def test_single_precision_is_enough(sde):
    t = torch.cat([torch.logspace(math.log10(sde.t_min), 0, 200), 1 - torch.logspace(-6, -1, 50)]) * sde.t_max
    for single, double in zip(sde.marginal_prob(t), sde.marginal_prob(t.double()), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=3e-5, atol=0)


def test_prior_std_is_that_of_unit_data_or_of_pure_noise(sde):
    alpha_1, sigma_1 = marginal_at(sde, sde.t_max)
    total = math.hypot(alpha_1, sigma_1)
    assert sde.prior_std == pytest.approx(sigma_1, rel=1e-3) or sde.prior_std == pytest.approx(total, rel=1e-3)


any_process = st.one_of(
    st.builds(ImderVE, sigma=st.floats(1.01, 1000.0)),
    st.builds(VE, sigma_min=st.floats(1e-4, 0.5), sigma_max=st.floats(1.0, 500.0)),
    st.builds(
        VP,
        schedule=st.sampled_from(["linear", "cosine"]),
        beta_min=st.floats(0.01, 1.0),
        beta_max=st.floats(2.0, 40.0),
        noise_to_signal_max=st.floats(2.0, 1e4),
        cosine_offset=st.floats(0.0, 0.1),
    ),
    st.builds(VP, schedule=st.just("shifted_cosine"), shift=st.floats(0.1, 10), noise_to_signal_max=st.floats(10, 1e4)),
    st.builds(SubVP, beta_min=st.floats(0.01, 1.0), beta_max=st.floats(2.0, 40.0)),
    st.builds(Flow, noise_to_signal_max=st.floats(2.0, 1e4)),
    st.builds(EDM, sigma_min=st.floats(1e-4, 0.5), sigma_max=st.floats(1.0, 500.0), rho=st.floats(1.0, 20.0)),
)


@given(any_process, st.floats(1e-3, 1.0), st.floats(1e-3, 1.0))
def test_signal_to_noise_falls(sde, s, t):
    s, t = min(s, t) * sde.t_max, max(s, t) * sde.t_max
    (alpha_s, sigma_s), (alpha_t, sigma_t) = marginal_at(sde, s), marginal_at(sde, t)
    assert min(alpha_s, sigma_s, alpha_t, sigma_t) > 0
    if t - s > 1e-6:
        assert alpha_s / sigma_s > alpha_t / sigma_t


@given(st.sampled_from(["linear", "cosine", "shifted_cosine"]), st.floats(1e-3, 1.0))
def test_vp_preserves_variance(schedule, t):
    assert math.hypot(*marginal_at(VP(schedule=schedule), t)) == pytest.approx(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImderVE(sigma=1.0),
        lambda: ImderVE(sigma=float("nan")),
        lambda: ImderVE(t_min=0.0),
        lambda: VE(sigma_min=2.0, sigma_max=1.0),
        lambda: VE(sigma_min=0.0),
        lambda: VE(sigma_max=float("inf")),
        lambda: VP(schedule="sigmoid"),
        lambda: VP(beta_min=-1.0),
        lambda: VP(noise_to_signal_max=1.0),
        lambda: VP(cosine_offset=-0.1),
        lambda: VP(t_min=1.0),
        lambda: VP(schedule="shifted_cosine", shift=0.0),
        lambda: VP(schedule="shifted_cosine", shift=1e-4),  # ends below the noise that cosine_offset starts with
        lambda: SubVP(beta_min=20.0, beta_max=0.1),
        lambda: Flow(noise_to_signal_max=1.0),
        lambda: Flow(noise_to_signal_max=2.0, t_min=0.7),
        lambda: EDM(sigma_min=3.0, sigma_max=1.0),
        lambda: EDM(rho=0.5),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError):
        make()

"""What every sampler must do, on every process; a new file in conf/diffusion/sampler is tested by being there."""

import pytest
import torch

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_2m import DPMpp2M
from imer_ray.diffusion.samplers.dpmpp_sde import SDEDPMpp2M
from imer_ray.diffusion.samplers.euler_maruyama import EulerMaruyama
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.samplers.predictor_corrector import PredictorCorrector
from imer_ray.diffusion.samplers.reverse_diffusion import ReverseDiffusion
from imer_ray.diffusion.samplers.stochastic_heun import StochasticHeun
from imer_ray.diffusion.samplers.unipc import UniPC
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.time_grid import SPACINGS

ORACLE = GaussianMixture(
    weights=torch.tensor([0.5, 0.3, 0.2]),
    means=torch.tensor([[1.0, 0.5], [-1.0, 0.7], [-0.3, -1.8]]),
    covariances=torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.2]], [[0.3, -0.1], [-0.1, 0.15]]]),
)
SAMPLERS = options("diffusion/sampler")
DETERMINISTIC = ["ddim", "dpmpp_2m", "dpmpp_2s", "dpmpp_3m", "heun", "pf_euler", "unipc"]


def draw(sampler, sde, num_steps, shape=(16, 4, 2), seed=0, parametrization="v"):
    generator = torch.Generator().manual_seed(seed)
    denoiser = Denoiser(ORACLE.network(sde, parametrization), sde, parametrization)
    x_T = initial_noise(sde, shape, generator, "cpu")
    return sampler.sample(denoiser, sde, x_T, num_steps, generator), denoiser.num_evaluations


def check_moments(x, of_mean, of_covariance):
    x = x.flatten(0, 1)
    torch.testing.assert_close(x.mean(0), ORACLE.mean(), rtol=0, atol=of_mean)
    torch.testing.assert_close(x.T.cov(), ORACLE.covariance(), rtol=0, atol=of_covariance)


def most_steps(sampler, num_evaluations):
    return max(n for n in range(1, num_evaluations + 1) if sampler.num_evaluations(n) <= num_evaluations)


def test_samples_have_the_mixtures_moments(sampler, sde):
    """In at most 80 evaluations. With 2,000 frames of variance near 1, one standard error is 0.022 for a mean and 0.03
    for a variance; the rest of the tolerance is for the discretisation, largest for the samplers of order 1."""
    check_moments(draw(sampler, sde, most_steps(sampler, 80), shape=(2000, 1, 2))[0], 0.1, 0.15)


@pytest.mark.slow
def test_samples_have_the_mixtures_moments_more_exactly(sampler, sde):
    """In at most 200 evaluations and with 16,000 frames: standard errors 0.008 and 0.01."""
    check_moments(draw(sampler, sde, most_steps(sampler, 200), shape=(16_000, 1, 2))[0], 0.05, 0.08)


@pytest.mark.parametrize(
    "sampler",
    [
        DDIM(eta=0.5),
        DDIM(eta=1.0),
        PredictorCorrector(num_corrections=2),
        StochasticHeun(s_churn=0.0),
        StochasticHeun(s_churn=40.0, s_tmin=0.0, s_tmax=100.0),
        UniPC(order=3, variant="bh1"),
        *(Heun(s) for s in SPACINGS),
        *(DPMpp2M(s) for s in SPACINGS),
    ],
    ids=repr,
)
@pytest.mark.parametrize("sde", [VE(sigma_max=50.0), VP()], ids=["ve", "vp"])
def test_so_they_have_with_other_settings(sampler, sde):
    check_moments(draw(sampler, sde, 40, shape=(2000, 1, 2))[0], 0.1, 0.15)


def test_evaluations_are_as_many_as_stated_and_samples_finite(sampler, sde):
    for num_steps in (1, 2, 3, 8):
        x, num_evaluations = draw(sampler, sde, num_steps)
        assert num_evaluations == sampler.num_evaluations(num_steps)
        assert x.isfinite().all()


def test_times_fall_from_the_first(sampler, sde):
    """Only churn goes back, as the method has it: from a time it reached to at most sqrt(2) times its sigma/alpha,
    once a step, and never beyond t_max."""
    for num_steps in (1, 2, 5):
        times = []

        def denoiser(x, t, times=times):
            times.append(t)
            return x * 0.5

        sampler.sample(denoiser, sde, torch.ones(1, 1, 1), num_steps, torch.Generator())
        assert times[0] == sde.t_max and times[-1] >= sde.t_min
        if getattr(sampler, "s_churn", 0.0) == 0:
            assert times == sorted(times, reverse=True)
            continue
        assert times[::2] == sorted(times[::2], reverse=True) and times[1::2] == sorted(times[1::2], reverse=True)
        assert all(s < t for t, s in zip(times[::2], times[1::2], strict=False))
        for reached, start in zip(times[1::2], times[2::2], strict=True):
            (alpha, sigma), (alpha_up, sigma_up) = marginal_at(sde, reached), marginal_at(sde, start)
            assert reached <= start <= sde.t_max
            assert sigma_up / alpha_up <= 2**0.5 * sigma / alpha * (1 + 1e-9)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "euler_maruyama"])
def test_one_step_of_all_but_euler_maruyama_gives_the_posterior_mean(name, sde):
    """From x_T, of which little is known of x_0, that is nearly the mean."""
    x, num_evaluations = draw(build(option("diffusion/sampler", name)), sde, 1)
    assert num_evaluations == 1
    torch.testing.assert_close(x, ORACLE.mean().expand_as(x), rtol=0, atol=0.5)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "dpmpp_2s", "dpmpp_3m", "unipc"])
def test_eight_evaluations_are_enough_for_the_spread(name, sde):
    """Half of the spread is lost by a poor choice of times; 15 % is what DDIM, of first order, may lose."""
    sampler = build(option("diffusion/sampler", name))
    x = draw(sampler, sde, most_steps(sampler, 8), shape=(4000, 1, 2))[0].squeeze(1)
    ratio = x.var(0) / ORACLE.covariance().diagonal()
    assert (ratio.sqrt() - 1).abs().max() < 0.15


def test_same_seed_same_sample(sampler):
    sde = VP()
    assert torch.equal(draw(sampler, sde, 5)[0], draw(sampler, sde, 5)[0])
    assert not torch.equal(draw(sampler, sde, 5)[0], draw(sampler, sde, 5, seed=1)[0])


def num_draws(sampler, num_steps):
    """How many times the sampler draws noise of x's shape; nothing else may come from the generator."""
    generator, expected = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    sde = VP(schedule="cosine")
    x_T, denoiser = torch.ones(3, 4, 2), Denoiser(ORACLE.network(sde, "v"), sde, "v")
    sampler.sample(denoiser, sde, x_T, num_steps, generator)
    for n in range(50):
        if torch.equal(generator.get_state(), expected.get_state()):
            return n
        torch.randn(x_T.shape, generator=expected)
    raise AssertionError("the generator was used for something else")


def test_noise_comes_from_the_generator_alone(sampler):
    own = torch.get_rng_state()
    assert num_draws(sampler, 1) == 0  # the step onto x_0 adds none
    assert num_draws(sampler, 5) <= sampler.num_evaluations(5)
    assert torch.equal(torch.get_rng_state(), own)


@pytest.mark.parametrize("name", SAMPLERS)
def test_which_samplers_need_noise(name):
    assert (num_draws(build(option("diffusion/sampler", name)), 5) == 0) == (name in DETERMINISTIC)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (DDIM(eta=0.3), 4),
        (EulerMaruyama(), 4),
        (ReverseDiffusion(), 4),
        (SDEDPMpp2M(), 4),
        (PredictorCorrector(num_corrections=2), 12),
        (StochasticHeun(s_churn=0.0), 0),
        (StochasticHeun(s_tmin=0.0, s_tmax=1e3), 4),  # before the last four of five steps: t_max is the noisiest
        (StochasticHeun(s_tmin=40.0, s_tmax=50.0), 0),
    ],
    ids=repr,
)
def test_noise_is_drawn_once_a_step(sampler, expected):
    assert num_draws(sampler, 5) == expected


def test_no_value_is_read_on_the_way(sampler, sde):
    """On the meta device nothing has a value, so a step that waits for one (and stalls a GPU) raises. The generator is
    on another device than the sample, as it may be."""
    x_T = torch.empty(3, 4, 2, device="meta")
    x = sampler.sample(Denoiser(lambda x, t: x * t[:, None, None], sde, "v"), sde, x_T, 4, torch.Generator())
    assert x.device.type == "meta" and x.shape == x_T.shape


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_nor_does_a_parametrization_read_one(sde, parametrization):
    x_T = torch.empty(3, 4, 2, device="meta")
    denoiser = Denoiser(lambda x, t: x * t[:, None, None], sde, parametrization)
    assert DDIM().sample(denoiser, sde, x_T, 3, torch.Generator()).device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_sample_keeps_the_precision_of_its_start(sampler, dtype):
    denoiser = Denoiser(lambda x, t: x, VP(), "v")
    assert sampler.sample(denoiser, VP(), torch.ones(2, 3, 4, dtype=dtype), 3, torch.Generator()).dtype == dtype


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_single_precision_follows_double(name, sde):
    """Rounding at sigma = 50, or at alpha = 0.01, must not reach the sample."""
    sampler = build(option("diffusion/sampler", name))
    x_T = initial_noise(sde, (16, 4, 2), torch.Generator().manual_seed(0), "cpu")
    double = GaussianMixture(ORACLE.weights.double(), ORACLE.means.double(), ORACLE.covariances.double())
    samples = [
        sampler.sample(Denoiser(oracle.network(sde, "v"), sde, "v"), sde, x, 20, torch.Generator())
        for oracle, x in ((ORACLE, x_T), (double, x_T.double()))
    ]
    torch.testing.assert_close(samples[0].double(), samples[1], rtol=0, atol=2e-3)


def test_every_parametrization_of_a_perfect_network_gives_the_same_sample(sampler):
    samples = [draw(sampler, VE(), 12, parametrization=p)[0] for p in PARAMETRIZATIONS]
    for x in samples[1:]:
        torch.testing.assert_close(x, samples[0], rtol=1e-3, atol=1e-3)


def test_initial_noise_has_the_priors_spread(sde):
    x_T = initial_noise(sde, (100, 50, 8), torch.Generator().manual_seed(0), "cpu")
    assert x_T.std().item() == pytest.approx(sde.prior_std, rel=0.02)  # five standard errors


@pytest.mark.parametrize("name", SAMPLERS)
def test_unknown_spacing_is_refused(name):
    with pytest.raises(ValueError, match="spacing"):
        build({**option("diffusion/sampler", name), "spacing": "sideways"})


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("ddim", "eta", 1.5),
        ("predictor_corrector", "snr", 0.0),
        ("predictor_corrector", "num_corrections", 0),
        ("stochastic_heun", "s_churn", -1.0),
        ("stochastic_heun", "s_tmin", 60.0),
        ("stochastic_heun", "s_noise", 0.0),
        ("unipc", "order", 4),
        ("unipc", "variant", "bh3"),
    ],
)
def test_settings_out_of_range_are_refused(name, key, value):
    with pytest.raises(ValueError, match=key):
        build({**option("diffusion/sampler", name), key: value})

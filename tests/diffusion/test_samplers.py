"""What every sampler must do, on every process; a new file in conf/diffusion/sampler is tested by being there."""

import pytest
import torch

from imer_ray.config import build, option, options
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_2m import DPMpp2M
from imer_ray.diffusion.samplers.euler_maruyama import EulerMaruyama
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.time_grid import SPACINGS

ORACLE = GaussianMixture(
    weights=torch.tensor([0.5, 0.3, 0.2]),
    means=torch.tensor([[1.0, 0.5], [-1.0, 0.7], [-0.3, -1.8]]),
    covariances=torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.2]], [[0.3, -0.1], [-0.1, 0.15]]]),
)


def draw(sampler, sde, num_steps, shape=(16, 4, 2), seed=0, parametrization="v"):
    generator = torch.Generator().manual_seed(seed)
    denoiser = Denoiser(ORACLE.network(sde, parametrization), sde, parametrization)
    x_T = initial_noise(sde, shape, generator, "cpu")
    return sampler.sample(denoiser, sde, x_T, num_steps, generator), denoiser.num_evaluations


def check_moments(x):
    x = x.flatten(0, 1)
    torch.testing.assert_close(x.mean(0), ORACLE.mean(), rtol=0, atol=0.06)
    torch.testing.assert_close(x.T.cov(), ORACLE.covariance(), rtol=0, atol=0.08)


def test_samples_have_the_mixtures_moments(sampler, sde):
    """In at most 200 evaluations. With 4,000 frames of variance near 1, one standard error is 0.016 for a mean and 0.02
    for a variance; the rest of the tolerance is for the discretisation."""
    num_steps = max(n for n in range(1, 201) if sampler.num_evaluations(n) <= 200)
    check_moments(draw(sampler, sde, num_steps, shape=(4000, 1, 2))[0])


@pytest.mark.parametrize(
    "sampler", [DDIM(eta=0.5), DDIM(eta=1.0), *(Heun(s) for s in SPACINGS), *(DPMpp2M(s) for s in SPACINGS)], ids=repr
)
@pytest.mark.parametrize("sde", [VE(sigma_max=50.0), VP()], ids=["ve", "vp"])
def test_so_they_have_with_other_settings(sampler, sde):
    check_moments(draw(sampler, sde, 80, shape=(4000, 1, 2))[0])


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_evaluations_are_as_many_as_stated(sampler, sde, num_steps):
    assert draw(sampler, sde, num_steps)[1] == sampler.num_evaluations(num_steps)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_times_fall_from_the_first(sampler, sde, num_steps):
    times = []

    def denoiser(x, t):
        times.append(t)
        return x

    sampler.sample(denoiser, sde, torch.ones(1, 1, 1), num_steps, torch.Generator())
    assert times[0] == sde.t_max and times[-1] >= sde.t_min
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_few_steps_give_finite_samples(sampler, sde, num_steps):
    assert draw(sampler, sde, num_steps)[0].isfinite().all()


@pytest.mark.parametrize("sampler", [DDIM(), DDIM(eta=1.0), Heun(), DPMpp2M()], ids=repr)
def test_one_step_of_all_but_euler_maruyama_gives_the_posterior_mean(sampler, sde):
    """From x_T, of which little is known of x_0, that is nearly the mean."""
    x, num_evaluations = draw(sampler, sde, 1)
    assert num_evaluations == 1
    torch.testing.assert_close(x, ORACLE.mean().expand_as(x), rtol=0, atol=0.5)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m"])
def test_eight_evaluations_are_enough_for_the_spread(name, sde):
    """Half of the spread is lost by a poor choice of times; 15 % is what DDIM, of first order, may lose."""
    sampler = build(option("diffusion/sampler", name))
    num_steps = max(n for n in range(1, 9) if sampler.num_evaluations(n) <= 8)
    x = draw(sampler, sde, num_steps, shape=(4000, 1, 2))[0].squeeze(1)
    ratio = x.var(0) / ORACLE.covariance().diagonal()
    assert (ratio.sqrt() - 1).abs().max() < 0.15


def test_same_seed_same_sample(sampler):
    sde = VP()
    assert torch.equal(draw(sampler, sde, 5)[0], draw(sampler, sde, 5)[0])
    assert not torch.equal(draw(sampler, sde, 5)[0], draw(sampler, sde, 5, seed=1)[0])


@pytest.mark.parametrize(
    ("sampler", "num_draws"),
    [(DDIM(), 0), (Heun(), 0), (DPMpp2M(), 0), (DDIM(eta=0.3), 4), (EulerMaruyama(), 4)],
    ids=repr,
)
def test_noise_comes_from_the_generator_alone(sampler, num_draws):
    """Five steps: none after the last, none at all where eta = 0, and never from torch's own generator."""
    own, generator = torch.get_rng_state(), torch.Generator().manual_seed(0)
    x_T = torch.ones(3, 4, 2)
    sampler.sample(Denoiser(ORACLE.network(VP(), "v"), VP(), "v"), VP(), x_T, 5, generator)
    expected = torch.Generator().manual_seed(0)
    for _ in range(num_draws):
        torch.randn(x_T.shape, generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())
    assert torch.equal(torch.get_rng_state(), own)


def test_no_value_is_read_on_the_way(sampler, sde):
    """On the meta device nothing has a value, so a step that waits for one (and stalls a GPU) raises. The generator is
    on another device than the sample, as it may be."""
    x_T = torch.empty(3, 4, 2, device="meta")
    for parametrization in PARAMETRIZATIONS:
        denoiser = Denoiser(lambda x, t: x * t[:, None, None], sde, parametrization)
        x = sampler.sample(denoiser, sde, x_T, 4, torch.Generator())
        assert x.device.type == "meta" and x.shape == x_T.shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_sample_keeps_the_precision_of_its_start(sampler, dtype):
    denoiser = Denoiser(lambda x, t: x, VP(), "v")
    assert sampler.sample(denoiser, VP(), torch.ones(2, 3, 4, dtype=dtype), 3, torch.Generator()).dtype == dtype


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m"])
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


@pytest.mark.parametrize("name", options("diffusion/sampler"))
def test_unknown_spacing_and_eta_are_refused(name):
    node = option("diffusion/sampler", name)
    with pytest.raises(ValueError, match="spacing"):
        build({**node, "spacing": "sideways"})
    if "eta" in node:
        with pytest.raises(ValueError, match="eta"):
            build({**node, "eta": 1.5})

"""Every way of drawing training times; conf/diffusion/time_sampling is walked."""

import math

import pytest
import torch

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.flow import Flow
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.time_sampling import LogitNormal, LogNormal, LogSNR, Uniform, at_log_noise, log_noise_range
from imer_ray.diffusion.weighting import SNR, Likelihood

N = 1000


@pytest.fixture(params=options("diffusion/time_sampling"))
def time_sampling(request):
    return build(option("diffusion/time_sampling", request.param))


def probability(time_sampling, sde, t):
    """F(t) of each distribution, from nothing but its definition and the marginals."""

    def log_noise(t):
        alpha_t, sigma_t = sde.marginal_prob(t)
        return (sigma_t / alpha_t).log()

    coordinates = {
        Uniform: lambda t: t,
        LogSNR: log_noise,
        LogNormal: lambda t: torch.special.ndtr((log_noise(t) - time_sampling.mean) / time_sampling.std),
        LogitNormal: lambda t: torch.special.ndtr(((t / (1 - t)).log() - time_sampling.mean) / time_sampling.std),
    }
    u = coordinates[type(time_sampling)](torch.cat([torch.tensor([sde.t_min, sde.t_max]).to(t), t]))
    return (u[2:] - u[0]) / (u[1] - u[0])


def draw(time_sampling, sde, n=N, seed=3):
    return time_sampling.sample(sde, n, torch.Generator().manual_seed(seed))


def test_times_are_one_in_each_part_of_equal_probability(time_sampling, sde):
    t = draw(time_sampling, sde)
    assert t.shape == (N,) and t.dtype == torch.float32
    low, high = torch.tensor([sde.t_min, sde.t_max])
    assert low <= t.min() and t.max() <= high
    place = probability(time_sampling, sde, t.double()).sort().values * N - torch.arange(N)
    # All are at the same place of their part. Times are single: where ln(sigma/alpha) is steepest, near t = 1 of a
    # process that ends at sigma/alpha = 100, that moves them by 1e-5, or 1e-2 of a part at most.
    assert -0.02 < place.min() and place.max() < 1.02
    assert place.max() - place.min() < 0.02


def test_a_time_has_its_distribution_from_draw_to_draw(time_sampling):
    sde, generator = VP(), torch.Generator().manual_seed(0)
    first = torch.stack([time_sampling.sample(sde, 4, generator)[0] for _ in range(1000)])
    u = probability(time_sampling, sde, first.double())
    assert u.mean().item() == pytest.approx(0.5, abs=0.04)  # standard error 0.009
    assert u.var().item() == pytest.approx(1 / 12, abs=0.015)


def test_uniform_times_are_the_shifted_lattice():
    """To the last bit, so that curves from before there was a choice come out the same."""
    shift = torch.rand(1, generator=torch.Generator().manual_seed(5))
    expected = 1e-3 + (1.0 - 1e-3) * ((shift + torch.arange(37) / 37) % 1)
    assert torch.equal(draw(Uniform(), VP(), 37, seed=5), expected)


def test_one_number_is_drawn_and_from_the_generator_alone(time_sampling):
    own, generator, expected = torch.get_rng_state(), *(torch.Generator().manual_seed(0) for _ in range(2))
    time_sampling.sample(VP(), 64, generator)
    torch.rand(1, generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())
    assert torch.equal(torch.get_rng_state(), own)


def test_log_noise_is_found_again(sde):
    low, high = log_noise_range(sde)
    y = torch.linspace(low, high, 777, dtype=torch.float64)
    alpha_t, sigma_t = sde.marginal_prob(at_log_noise(sde, y).double())
    torch.testing.assert_close((sigma_t / alpha_t).log(), y, rtol=0, atol=3e-5)  # single times near t = 1


def test_ends_are_those_of_the_process(sde):
    low, high = log_noise_range(sde)
    t = at_log_noise(sde, torch.tensor([low - 1, low, high, high + 1], dtype=torch.float64))
    assert t.tolist() == pytest.approx([sde.t_min, sde.t_min, sde.t_max, sde.t_max], rel=3e-6)


def test_logit_normal_is_log_normal_on_the_straight_line():
    """There sigma/alpha is t/(1 - t)."""
    sde = Flow()
    for mean, std in ((0.0, 1.0), (-1.0, 0.5), (1.0, 2.0)):
        torch.testing.assert_close(
            draw(LogitNormal(mean, std), sde), draw(LogNormal(mean, std), sde), rtol=1e-5, atol=1e-6
        )


def test_log_snr_is_uniform_on_the_geometric_ve():
    torch.testing.assert_close(draw(LogSNR(), VE()), draw(Uniform(), VE()), rtol=1e-5, atol=1e-6)


def test_log_normal_has_karras_levels():
    """ln sigma ~ N(-1.2, 1.2^2), of which the process from 0.002 to 80 cuts off next to nothing."""
    sde = build(option("diffusion/sde", "edm"))
    _, sigma_t = sde.marginal_prob(draw(LogNormal(), sde, 10_000).double())
    assert sigma_t.log().mean().item() == pytest.approx(-1.2, abs=2e-3)
    assert sigma_t.log().std().item() == pytest.approx(1.2, abs=2e-3)


@pytest.mark.parametrize("sde", [ImderVE(t_min=0.05), VP(t_min=0.05)], ids=["imder_ve", "vp"])
def test_likelihood_weighting_by_uniform_times_is_snr_weighting_by_uniform_log_snr(sde):
    """Both integrate the same error over the SNR: -dSNR = SNR (-d ln SNR), up to the lengths of the two ranges."""

    def expectation(time_sampling, weighting):
        t = draw(time_sampling, sde, 100_000).double()
        alpha_t, sigma_t = sde.marginal_prob(t)
        error = 1 / (1 + (alpha_t / sigma_t) ** 2)  # Var[x_0 | x_t] of unit data
        return (weighting.output_weight(sde, t, 1.0, 1.0) * error).mean().item()

    low, high = log_noise_range(sde)
    by_time = expectation(Uniform(), Likelihood()) * (sde.t_max - sde.t_min)
    by_log_snr = expectation(LogSNR(), SNR()) * 2 * (high - low)
    assert by_time == pytest.approx(by_log_snr, rel=1e-3)


def test_a_distribution_beside_the_process_is_refused():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="mean -20 and standard deviation 1 .* between -6.91 and 4.61"):
        LogNormal(mean=-20.0, std=1.0).sample(Flow(), 8, generator)
    with pytest.raises(ValueError, match=r"diffusion\.time_sampling"):
        LogitNormal(mean=30.0).sample(Flow(), 8, generator)


@pytest.mark.parametrize("kind", [LogNormal, LogitNormal])
@pytest.mark.parametrize("settings", [{"std": 0.0}, {"std": math.inf}, {"mean": math.nan}])
def test_settings_out_of_range_are_refused(kind, settings):
    with pytest.raises(ValueError):
        kind(**settings)


def test_nothing_beyond_the_ends_is_drawn_where_the_normal_is_cut_in_half():
    sde = VE(sigma_min=0.01, sigma_max=20.0)
    t = draw(LogNormal(mean=math.log(20.0), std=3.0), sde)
    assert sde.t_min <= t.min() and t.max() <= sde.t_max
    median = math.log(marginal_at(sde, t.median().item())[1])
    # Half of a normal distribution has its median 0.6745 standard deviations from where it is cut; the other end cuts
    # 1 % of it.
    assert median == pytest.approx(math.log(20.0) - 0.6745 * 3.0, abs=0.06)

"""What every sampler must do, on every process; a new file in conf/diffusion/sampler is tested by being there."""

import pytest
import torch

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.noise import initial_noise
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
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.time_grid import SPACINGS
from imer_ray.testing import SamplerContract
from imer_ray.testing.samplers import ORACLE, check_moments, draw, most_steps, num_draws

SAMPLERS = options("diffusion/sampler")
DETERMINISTIC = ["ddim", "dpmpp_2m", "dpmpp_2s", "dpmpp_3m", "heun", "pf_euler", "unipc"]


class TestEverySampler(SamplerContract):
    @pytest.fixture(autouse=True, params=SAMPLERS)
    def _sampler(self, request):
        self.sampler = build(option("diffusion/sampler", request.param))


@pytest.mark.slow
def test_samples_have_the_mixtures_moments_more_exactly(sampler, sde):
    """In at most 200 evaluations and with 16,000 frames: standard errors 0.008 and 0.01."""
    check_moments(draw(sampler, sde, most_steps(sampler, 200), shape=(160, 100, 2))[0], 0.05, 0.08)


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
    check_moments(draw(sampler, sde, 40, shape=(20, 100, 2))[0], 0.1, 0.15)


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


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_nor_does_a_parametrization_read_one(sde, parametrization):
    x_T = torch.empty(3, 4, 2, device="meta")
    denoiser = Denoiser(lambda x, t: x * t[:, None, None], sde, parametrization)
    assert DDIM().sample(denoiser, sde, x_T, 3, torch.Generator()).device.type == "meta"


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

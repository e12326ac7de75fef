import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP


def mixture(dtype=torch.float64):
    return GaussianMixture(
        weights=torch.tensor([0.5, 0.3, 0.2], dtype=dtype),
        means=torch.tensor([[1.0, 0.5], [-1.0, 0.7], [-0.3, -1.8]], dtype=dtype),
        covariances=torch.tensor(
            [[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.2]], [[0.3, -0.1], [-0.1, 0.15]]], dtype=dtype
        ),
    )


def points(num_clips=5, num_frames=4):
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(num_clips, num_frames, 2, generator=generator, dtype=torch.float64)


def test_log_prob_is_that_of_the_mixture_of_noisy_components():
    oracle, x, alpha_t, sigma_t = mixture(), points(), 0.8, 0.6
    components = torch.distributions.MultivariateNormal(
        alpha_t * oracle.means, alpha_t**2 * oracle.covariances + sigma_t**2 * torch.eye(2, dtype=torch.float64)
    )
    expected = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(oracle.weights), components)
    torch.testing.assert_close(oracle.log_prob(x, alpha_t, sigma_t), expected.log_prob(x))


@pytest.mark.parametrize(("alpha_t", "sigma_t"), [(1.0, 0.1), (0.8, 0.6), (0.05, 1.0), (1.0, 20.0)])
def test_score_is_the_gradient_of_log_prob_and_denoiser_follows_by_tweedie(alpha_t, sigma_t):
    oracle, x = mixture(), points().requires_grad_()
    (score,) = torch.autograd.grad(oracle.log_prob(x, alpha_t, sigma_t).sum(), x)
    torch.testing.assert_close(oracle.score(x, alpha_t, sigma_t), score)
    torch.testing.assert_close(oracle.denoise(x, alpha_t, sigma_t), (x + sigma_t**2 * score) / alpha_t)


def test_denoiser_is_the_posterior_mean_by_quadrature():
    """E[x_0 | x_t] integrated on a grid of x_0, with nothing but the density and the noise."""
    oracle, x_t, alpha_t, sigma_t = mixture(), torch.tensor([[[0.4, -0.7]]], dtype=torch.float64), 0.9, 0.5
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    x_0 = torch.cartesian_prod(axis, axis)
    log_weight = oracle.log_prob(x_0[None])[0] - ((x_t[0] - alpha_t * x_0) ** 2).sum(-1) / (2 * sigma_t**2)
    expected = log_weight.softmax(0) @ x_0
    torch.testing.assert_close(oracle.denoise(x_t, alpha_t, sigma_t)[0, 0], expected, rtol=1e-6, atol=1e-6)


def test_samples_have_the_stated_moments():
    oracle = mixture()
    x = oracle.sample(500, 200, torch.Generator().manual_seed(0)).reshape(-1, 2)
    # Standard errors with 100,000 frames: about 0.0034 and 0.005.
    torch.testing.assert_close(x.mean(0), oracle.mean(), rtol=0, atol=0.015)
    torch.testing.assert_close(x.T.cov(), oracle.covariance(), rtol=0, atol=0.02)


@pytest.mark.parametrize("scale_input", [True, False])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("sde", [VE(), VP()], ids=["ve", "vp"])
def test_every_kind_of_network_denoises_alike(sde, parametrization, scale_input):
    oracle, x = mixture(), points()
    denoiser = Denoiser(oracle.network(sde, parametrization, scale_input), sde, parametrization, scale_input)
    t = torch.tensor([0.05, 0.2, 0.5, 0.8, 1.0], dtype=torch.float64)
    alpha_t, sigma_t = (v[:, None, None] for v in sde.marginal_prob(t))
    torch.testing.assert_close(denoiser(x, t), oracle.denoise(x, alpha_t, sigma_t), rtol=1e-9, atol=1e-9)


def test_weights_must_sum_to_one():
    with pytest.raises(ValueError, match="sum to 1"):
        GaussianMixture(torch.tensor([0.5, 0.6]), torch.zeros(2, 1), torch.ones(2, 1, 1))

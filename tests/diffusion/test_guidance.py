"""Guidance where it is known in closed form."""

from __future__ import annotations

import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.guidance import evaluations_per_call, guided
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP

MEAN = torch.tensor([1.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)


def gaussian(mean: torch.Tensor) -> GaussianMixture:
    return GaussianMixture(torch.ones(1, dtype=torch.float64), mean[None], COVARIANCE[None])


@pytest.mark.parametrize("parametrization", ["eps", "x0", "v", "score"])
@pytest.mark.parametrize("sde", [VP(), VE()], ids=["vp", "ve"])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_a_condition_that_shifts_a_gaussian_shifts_it_by_the_weight(sde, parametrization, weight) -> None:
    """N(m, S) with and N(0, S) without the condition: their guided denoiser is exactly that of N(w m, S)."""
    told, untold, expected = (gaussian(scale * MEAN).network(sde, parametrization) for scale in (1.0, 0.0, weight))
    shapes = []

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        shapes.append((tuple(x.shape), tuple(t.shape)))
        (x_told, x_untold), (t_told, t_untold) = x.chunk(2), t.chunk(2)
        return torch.cat([told(x_told, t_told), untold(x_untold, t_untold)])

    x_t = torch.randn(5, 7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    guided_x0 = Denoiser(guided(network, weight), sde, parametrization)(x_t, t)
    # Times are float64 here, so that only rounding differs; eps divides it by alpha_t, 1 % at the last time.
    torch.testing.assert_close(guided_x0, Denoiser(expected, sde, parametrization)(x_t, t), rtol=1e-9, atol=1e-9)
    assert shapes == [((10, 7, 2), (10,))]


def test_an_estimate_that_is_not_guided_costs_one_evaluation() -> None:
    assert [evaluations_per_call(w) for w in (0.0, 1.0, 1.5)] == [2, 1, 2]

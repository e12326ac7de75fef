"""Scores of predictive distributions: closed forms against integrals, and what only the true distribution can reach."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from imer_ray.evaluation.predictive import crps, likeliest_scale, log_density, predictive_metrics, probability_below


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    label=st.floats(-3, 3),
    draws=st.lists(st.floats(-3, 3), min_size=1, max_size=5),
    scale=st.floats(0.05, 3),
)
def test_scores_are_those_of_the_mixture_by_numerical_integration(label, draws, scale):
    y, ensemble, sigma = numbers(label), numbers(*draws)[None], numbers(scale)

    def below(x):
        return stats.norm.cdf((x - np.array(draws)) / scale).mean()

    ends = [(-40.0, label, 0.0), (label, 40.0, 1.0)]
    points = sorted(draws)
    exact = sum(
        integrate.quad(lambda x, step=step: (below(x) - step) ** 2, low, high, points=points, limit=400)[0]
        for low, high, step in ends
    )
    assert float(crps(y, ensemble, sigma)) == pytest.approx(exact, abs=1e-6)
    assert float(probability_below(y, ensemble, sigma)) == pytest.approx(below(label))
    density = stats.norm.pdf(label, np.array(draws), scale).mean()
    if density > 1e-300:
        assert float(log_density(y, ensemble, sigma)) == pytest.approx(math.log(density))


def test_without_noise_crps_is_the_absolute_error_and_of_an_ensemble_its_energy_form():
    y, tiny = numbers(0.7, -2.0), torch.full((2,), 1e-9, dtype=torch.float64)
    single, ensemble = numbers(0.2, 1.0)[:, None], normal(2, 6)
    torch.testing.assert_close(crps(y, single, tiny), (y - single[:, 0]).abs(), atol=1e-8, rtol=0)
    spread = (ensemble[:, :, None] - ensemble[:, None]).abs().mean((1, 2))
    torch.testing.assert_close(
        crps(y, ensemble, tiny), (y[:, None] - ensemble).abs().mean(1) - spread / 2, atol=1e-8, rtol=0
    )


def test_equal_draws_are_as_good_as_one():
    y, draw = normal(20), normal(20, 1, seed=1)
    scale = torch.full((20,), 0.4, dtype=torch.float64)
    for score in (crps, log_density, probability_below):
        torch.testing.assert_close(score(y, draw.expand(-1, 7), scale), score(y, draw, scale))


def test_nobody_does_better_than_the_distribution_that_labels_come_from():
    """Labels follow one of two draws, with noise: either draw alone, their mean and wrong scales lose."""
    n = 20_000
    draws = torch.stack([normal(n, seed=1) - 1.5, normal(n, seed=2) + 1.5], 1)
    which = torch.rand(n, generator=torch.Generator().manual_seed(3)) < 0.5
    y = torch.where(which, draws[:, 0], draws[:, 1]) + 0.5 * normal(n, seed=4)

    def found(ensemble, scale):
        return {k: float(v.mean()) for k, v in predictive_metrics(y, ensemble, numbers(scale).expand(n)).items()}

    true, mean = found(draws, 0.5), draws.mean(1, keepdim=True)
    assert true["PICP_50"] == pytest.approx(0.5, abs=0.02) and true["PICP_90"] == pytest.approx(0.9, abs=0.01)
    for ensemble, scale in ((draws, 0.25), (draws, 1.0), (draws[:, :1], 0.5), (mean, likeliest_scale(y, mean))):
        other = found(ensemble, scale)
        assert other["CRPS"] > true["CRPS"] + 0.005 and other["NLL"] > true["NLL"] + 0.05, (scale, other, true)


@pytest.mark.parametrize("num_draws", [1, 4])
def test_the_likeliest_scale_is_the_noise_s(num_draws):
    """With one draw, the root mean square of the residuals."""
    draws = normal(4000, num_draws, seed=5)
    y = draws[:, 0] + 0.7 * normal(4000, seed=6)
    found = likeliest_scale(y, draws)
    assert found == pytest.approx(0.7, rel=0.05)
    if num_draws == 1:
        assert found == pytest.approx(float((y - draws[:, 0]).square().mean().sqrt()), rel=1e-4)


def test_a_fit_without_residuals_stays_finite():
    y = numbers(1.0)
    scale = likeliest_scale(y, y[:, None])
    assert torch.isfinite(log_density(y, y[:, None], numbers(scale))).all()

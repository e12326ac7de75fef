"""The expected improvement of a hypervolume, beside what draws add to it on average."""

import math

import numpy as np
import pytest

from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.improvement import expected_improvement

REFERENCE = np.array([1.0, 2.0])
FRONTS = {
    "none": np.empty((0, 2)),
    "one": np.array([[0.4, 1.0]]),
    "some, dominated and out of reach": np.array([[0.4, 1.0], [0.2, 1.5], [0.7, 0.2], [0.5, 1.7], [0.1, 3.0]]),
}


@pytest.mark.parametrize("num_objectives", [2, 3, 4])
@pytest.mark.parametrize("number", [0, 1, 6])
def test_it_is_the_mean_of_improvements(number, num_objectives):
    rng = np.random.default_rng(number)
    found = rng.random((number, num_objectives)).round(1)  # with ties
    reference = np.array([0.9, 1.1, 1.0, 0.8])[:num_objectives]
    mean, deviation = rng.random((2, num_objectives)), rng.uniform(0.05, 0.4, (2, num_objectives))
    before = hypervolume(found, reference)
    for expected, at, spread in zip(
        expected_improvement(mean, deviation, found, reference), mean, deviation, strict=True
    ):
        drawn = at + spread * rng.standard_normal((300, num_objectives))
        grown = [hypervolume(np.vstack([found, [point]]), reference) - before for point in drawn]
        assert expected == pytest.approx(np.mean(grown), abs=4 * np.std(grown) / math.sqrt(len(grown)))


@pytest.mark.parametrize("number", [0, 1, 6])
def test_of_warped_predictions_it_is_the_mean_of_improvements_of_what_they_stand_for(number):
    """The second objective is predicted by arsinh 3y, the third by its exponential."""
    rng = np.random.default_rng(number)
    found, reference = rng.random((number, 3)), np.array([0.9, 1.1, 1.0])
    mean, deviation = np.array([[0.5, 1.2, 1.8], [0.3, 0.7, 1.2]]), np.array([[0.2, 0.4, 0.1], [0.0, 0.3, 0.2]])
    warps = (None, lambda y: np.arcsinh(3 * y), np.exp)
    before = hypervolume(found, reference)
    gains = expected_improvement(mean, deviation, found, reference, warps)
    for expected, at, spread in zip(gains, mean, deviation, strict=True):
        drawn = at + spread * rng.standard_normal((1000, 3))
        drawn = np.column_stack([drawn[:, 0], np.sinh(drawn[:, 1]) / 3, np.log(np.maximum(drawn[:, 2], 1e-9))])
        grown = [hypervolume(np.vstack([found, [point]]), reference) - before for point in drawn]
        assert expected == pytest.approx(np.mean(grown), rel=0.02, abs=4 * np.std(grown) / math.sqrt(len(grown)))


def test_what_is_known_gains_nothing_however_it_is_warped():
    front = np.array([[0.4, 1.0], [0.2, 1.5], [0.7, 0.2]])
    warped = np.arcsinh(front)
    gains = expected_improvement(warped, np.zeros_like(front), front, REFERENCE, (np.arcsinh, np.arcsinh))
    np.testing.assert_allclose(gains, 0.0, atol=1e-8)


def at_known_costs(front, mean, std, costs):
    means, deviations = np.column_stack([np.full(len(costs), mean), costs]), np.zeros((len(costs), 2))
    deviations[:, 0] = std
    return expected_improvement(means, deviations, front, REFERENCE)


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
@pytest.mark.parametrize(
    ("mean", "std", "cost"), [(0.3, 0.2, 0.5), (0.45, 0.05, 1.2), (0.1, 0.3, -1.0), (0.3, 0.1, 2.5)]
)
def test_of_a_known_cost_it_is_the_mean_over_draws_of_the_quality(front, mean, std, cost):
    draws = np.random.default_rng(0).normal(mean, std, 1600)
    before = hypervolume(front, REFERENCE) if len(front) else 0.0
    gains = [hypervolume(np.vstack([front, [draw, cost]]), REFERENCE) - before for draw in draws]
    (found,) = at_known_costs(front, mean, std, [cost])
    assert found == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / 38 + 1e-8)
    assert found == pytest.approx(0.0, abs=1e-8) or cost < REFERENCE[1]


def test_of_two_of_equal_quality_the_cheaper_gains_more():
    gains = at_known_costs(FRONTS["one"], 0.4, 0.1, [0.5, 1.0, 1.5])
    assert (np.diff(gains) < 0).all() and (gains > 0).all()

"""The expected gain of hypervolume at a known cost, beside what draws of the quality gain on average."""

import numpy as np
import pytest

from imer_ray.results.hypervolume import hypervolume
from imer_ray.tuning.study.cost_first.gain import expected_gain

REFERENCE = np.array([1.0, 2.0])
FRONTS = {
    "none": np.empty((0, 2)),
    "one": np.array([[0.4, 1.0]]),
    "some, dominated and out of reach": np.array([[0.4, 1.0], [0.2, 1.5], [0.7, 0.2], [0.5, 1.7], [0.1, 3.0]]),
}


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
@pytest.mark.parametrize(
    ("mean", "std", "cost"), [(0.3, 0.2, 0.5), (0.45, 0.05, 1.2), (0.1, 0.3, -1.0), (0.3, 0.1, 2.5)]
)
def test_it_is_the_mean_over_draws_of_the_quality(front, mean, std, cost):
    draws = np.random.default_rng(0).normal(mean, std, 4000)
    before = hypervolume(front, REFERENCE) if len(front) else 0.0
    gains = [hypervolume(np.vstack([front, [draw, cost]]), REFERENCE) - before for draw in draws]
    (found,) = expected_gain(front, REFERENCE, np.array([mean]), np.array([std]), np.array([cost]))
    assert found == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / 60 + 1e-9)
    assert found == 0.0 or cost < REFERENCE[1]


def test_of_two_of_equal_quality_the_cheaper_gains_more():
    gains = expected_gain(FRONTS["one"], REFERENCE, np.full(3, 0.4), np.full(3, 0.1), np.array([0.5, 1.0, 1.5]))
    assert (np.diff(gains) < 0).all() and (gains > 0).all()

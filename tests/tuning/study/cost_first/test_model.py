"""A Gaussian process over configurations with conditional parameters."""

import math
import random

import numpy as np
import pytest
from records import SPACE
from scipy.optimize import approx_fprime

from imer_ray.tuning.study.cost_first.model import GaussianProcess, encoded


def law(values):
    return 0.3 * (values["sde"] == "ve") + (math.log(values["steps"]) / 4 - 0.6) ** 2


@pytest.fixture
def known():
    rng = random.Random(1)
    drawn = [SPACE.sample(rng) for _ in range(60)]
    return drawn, np.array([law(values) for values in drawn])


def test_numbers_are_places_in_their_range_and_choices_one_column_each(known):
    x, owners = encoded(SPACE, known[0])
    assert x.shape == (60, len(owners)) and x.min() >= 0 and x.max() <= 1
    assert set(owners) == set(range(len(SPACE.parameters)))
    assert encoded(SPACE, [])[0].shape == (0, len(owners))


def test_it_predicts_what_it_has_not_seen_and_is_surer_of_what_it_has(known):
    drawn, values = known
    rng = random.Random(2)
    others = [SPACE.sample(rng) for _ in range(200)]
    truth = np.array([law(other) for other in others])
    process = GaussianProcess(SPACE, drawn, values)
    mean, std = process.predict(others)
    assert ((mean - truth) ** 2).mean() < 0.05 * truth.var()
    assert np.median(process.predict(drawn)[1]) < np.median(std) and (std > 0).all()


def test_the_gradient_of_its_loss_is_that_of_differences(known):
    process = GaussianProcess(SPACE, *known)
    at = np.random.default_rng(0).normal(scale=0.5, size=len(SPACE.parameters) + 1)
    by_differences = approx_fprime(at, lambda logs: process._loss(logs)[0], 1e-6)
    assert process._loss(at)[1] == pytest.approx(by_differences, abs=1e-3)


def test_equal_values_teach_nothing_and_break_nothing(known):
    mean, std = GaussianProcess(SPACE, known[0], np.full(60, 0.25)).predict(known[0])
    assert mean == pytest.approx(0.25) and np.isfinite(std).all()

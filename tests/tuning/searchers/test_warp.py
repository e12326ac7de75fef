"""How values are told to the models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.tuning.searchers._warp import Warp

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30).map(np.array)


@given(VALUES, VALUES)
def test_it_keeps_the_order_of_any_values_and_gives_them_back(values, others):
    warp = Warp(values)
    asked = np.concatenate([values, others])
    warped = warp(asked)
    assert (np.diff(warped[np.argsort(asked, kind="stable")]) >= 0).all()
    size = np.abs(asked).max() + np.abs(values).max() + 1e-9
    np.testing.assert_allclose(warp.inverse(warped), asked, rtol=1e-6, atol=1e-9 * size)


def test_the_better_half_stays_as_it_is_and_a_long_tail_comes_near():
    values = np.exp(np.random.default_rng(0).normal(0, 1.5, 200))
    warp, median = Warp(values), np.median(values)
    better = values[values <= median]
    np.testing.assert_allclose(warp(better), (better - median) / values.std())
    assert warp(values).max() < 0.5 * (values.max() - median) / values.std()


def test_values_without_a_tail_stay_as_they_are():
    values = 5 - np.abs(np.random.default_rng(1).normal(size=200))  # the tail is on the good side
    np.testing.assert_allclose(Warp(values)(values), (values - np.median(values)) / values.std(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_its_power_is_the_likeliest(seed):
    values = np.exp(np.random.default_rng(seed).normal(0, 1, 60))
    warp = Warp(values)
    z = (values - np.median(values)) / values.std()

    def likelihood(power):
        warped = np.where(z > 0, ((1 + np.maximum(z, 0)) ** power - 1) / power, z)
        return -0.5 * len(z) * np.log(warped.var()) + (power - 1) * np.log1p(np.maximum(z, 0)).sum()

    found = likelihood(warp._power)
    assert all(found >= likelihood(power) - 1e-4 for power in np.linspace(0.01, 1.0, 34))

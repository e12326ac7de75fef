"""Attainment: by hand, by its definition, and against an independent library."""

import math

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imer_ray.results.attainment import attainment_surface, times_on_front
from imer_ray.results.pareto import pareto_front

seeds_of_points = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 7), st.just(2)), elements=st.integers(0, 9).map(float)
)


GRID = np.stack(np.meshgrid(np.arange(-1, 11), np.arange(-1, 11)), axis=-1).reshape(-1, 1, 2)


def attained(points):
    """Which places of the grid one of the points is at least as good as."""
    return (points <= GRID).all(2).any(1)


def test_times_on_front_by_hand():
    values = [[[0, 3], [1, 1], [3, 0], [2, 2]], [[0, 3], [1, 1], [0, 0], [2, 2]], [[9, 9], [1, 1], [0, 3], [2, 0]]]
    ran = [[True, True, True, True], [True, True, True, False], [True, False, True, False]]
    assert times_on_front(values, ran).tolist() == [1, 1, 3, 0]


def test_the_surface_of_one_seed_is_its_front():
    values = np.array([[[0, 3], [1, 1], [3, 0], [2, 2]]])
    assert attainment_surface(values, 1.0).tolist() == [[0, 3], [1, 1], [3, 0]]


def test_points_that_were_not_measured_attain_nothing():
    values = np.array([[[0, math.nan], [2, 2]], [[math.inf, 0], [1, 1]]])
    assert attainment_surface(values, 0.5).tolist() == [[1, 1]]
    assert attainment_surface(values, 1.0).tolist() == [[2, 2]]
    assert attainment_surface(np.full((2, 1, 2), math.nan), 0.5).tolist() == []


@pytest.mark.parametrize("level", [0, -0.1, 1.1])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match="level must be a share"):
        attainment_surface(np.zeros((2, 1, 2)), level)


@settings(max_examples=60, deadline=None)
@given(seeds_of_points, st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_the_surface_bounds_what_the_share_of_seeds_attains(values, level):
    corners = attainment_surface(values, level)
    assert pareto_front(corners).all()
    share = np.mean([attained(points) for points in values], axis=0)
    assert (attained(corners) == (share >= level)).all()


@settings(max_examples=60, deadline=None)
@given(seeds_of_points, st.sampled_from([25, 50, 75, 100]))
def test_the_surface_is_moocores(values, percentile):
    sets = np.repeat(np.arange(1, len(values) + 1), values.shape[1])
    theirs = moocore.eaf(values.reshape(-1, 2), sets, percentiles=[percentile])[:, :2]
    ours = attainment_surface(values, percentile / 100)
    assert sorted(map(tuple, np.unique(theirs, axis=0).tolist())) == list(map(tuple, ours.tolist()))

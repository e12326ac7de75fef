import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imer_ray.results.pareto import knee, non_domination_rank, pareto_front, picks

# few distinct values, so that ties, duplicates and points that were not measured are common
VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.5, np.nan, np.inf])
POINTS = st.tuples(st.integers(0, 12), st.integers(1, 3)).flatmap(lambda shape: arrays(float, shape, elements=VALUES))


def brute_force(points):
    def dominates(x, y):
        return np.isfinite(x).all() and (x <= y).all() and (x < y).any()

    return np.array([np.isfinite(y).all() and not any(dominates(x, y) for x in points) for y in points], dtype=bool)


@given(POINTS)
@settings(deadline=None)
def test_front_is_what_the_definition_says(points):
    assert np.array_equal(pareto_front(points), brute_force(points))


@given(POINTS)
@settings(deadline=None)
def test_ranks_peel_fronts_and_leave_out_what_was_not_measured(points):
    rank = non_domination_rank(points)
    assert np.array_equal(rank == -1, ~np.isfinite(points).all(1))
    for level in range(rank.max(initial=-1) + 1):
        rest = rank >= level
        assert np.array_equal(rank[rest] == level, pareto_front(points[rest]))


def test_all_copies_of_a_front_point_are_on_the_front():
    assert pareto_front([[1, 1], [1, 1], [2, 2]]).tolist() == [True, True, False]


def test_a_nan_or_infinite_point_neither_is_on_the_front_nor_keeps_others_off():
    points = [[np.nan, 0], [-np.inf, -np.inf], [np.inf, 0], [1, 1]]
    assert pareto_front(points).tolist() == [False, False, False, True]


def test_a_front_of_10_000_points_is_found_quickly_enough_for_every_trial():
    x = np.random.default_rng(0).random((10_000, 2))
    front = x[pareto_front(x)]
    order = front[:, 0].argsort()
    assert 0 < len(front) < 100 and (np.diff(front[order, 1]) <= 0).all()


def test_knee_is_the_corner_of_a_bent_front():
    assert knee([[0.0, 1.0], [0.1, 0.1], [1.0, 0.0]]) == 1


def test_picks_are_the_best_of_each_objective_and_the_knee():
    points = [[0.0, 1.0, 0.5], [0.9, 0.0, 0.5], [0.8, 0.9, 0.0], [0.2, 0.2, 0.2], [0.9, 0.0, 0.6], [1.0, 1.0, 1.0]]
    found = picks(points, ["num_parameters"])
    assert found == {"quality": 0, "speed": 1, "knee": 3, "num_parameters": 2}
    assert list(found) == ["quality", "speed", "knee", "num_parameters"]
    assert picks(np.array(points)[:, :2]) == {"quality": 0, "speed": 1, "knee": 3}
    assert picks(np.empty((0, 3)), ["num_parameters"]) == {}


def test_knee_of_a_circle_is_its_middle():
    angle = np.linspace(0, np.pi / 2, 21)
    assert knee(1 - np.column_stack([np.cos(angle), np.sin(angle)])) == 10


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(-50, 50), st.permutations(range(5)))
def test_knee_does_not_depend_on_units_or_order(a, b, shift, order):
    front = np.array([[0, 10], [1, 6], [2, 3], [6, 1], [10, 0]], dtype=float)
    moved = (front * [a, b] + [shift, -shift])[list(order)]
    assert order[knee(moved)] == 2


def test_knee_of_one_point_and_of_a_straight_front():
    assert knee([[0.3, 0.7]]) == 0
    assert knee([[0, 4], [1, 3], [2, 2], [3, 1], [4, 0]]) == 2


@pytest.mark.parametrize("front", [np.empty((0, 2)), [[np.nan, 1.0]]])
def test_knee_needs_a_finite_point(front):
    with pytest.raises(ValueError, match="at least one point"):
        knee(front)

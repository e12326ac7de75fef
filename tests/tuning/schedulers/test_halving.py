"""Who goes on at a rung: by hand, by an independent ranking, and whatever the points are."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study._multi_objective import _fast_non_domination_rank

from imer_ray.tuning.schedulers._halving import brackets, crowding_distance, rungs, survives

FACTORS = st.sampled_from([1.5, 2.0, 3.0, 4.0])
COORDINATES = st.integers(0, 12).map(float)  # few values, so that ties and copies occur
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=24)


def go_on(points, factor):
    return [survives(points, i, factor) for i in range(len(points))]


@pytest.mark.parametrize(
    ("grace", "factor", "expected"),
    [(1, 3, (1, 3, 9, 27, 81)), (3, 2, (3, 6, 12, 24, 48)), (1, 1.5, (1, 2, 3, 5, 8)), (4, 4, (4, 16, 64, 256, 1024))],
)
def test_rungs_are_a_geometric_series_in_whole_epochs(grace, factor, expected):
    assert rungs(grace, factor)[:5] == expected


def test_brackets_cost_the_same():
    """With factor 3, a trial of bracket s is granted 3^s times the epochs, so there are 9, 3 and 1 of 13."""
    chosen = list(itertools.islice(brackets(3, 3.0), 13 * 20))
    assert [chosen[:13].count(s) for s in range(3)] == [9, 3, 1]
    assert [chosen.count(s) for s in range(3)] == [180, 60, 20]
    assert chosen[0] == 0 and list(itertools.islice(brackets(1, 3.0), 5)) == [0] * 5


def test_by_hand():
    """Fronts: {a, b, c}, {d}, {e, f}. Of the first, the ends a and c are infinitely far from their neighbours."""
    a, b, c, d, e, f = (1, 9), (4, 4), (9, 1), (5, 5), (6, 7), (7, 6)
    points = [a, b, c, d, e, f]
    assert go_on(points, 3) == [True, False, True, False, False, False]  # 2 go on: the ends
    assert go_on(points, 2) == [True, True, True, False, False, False]  # 3 go on: the front
    assert go_on(points, 1.5) == [True, True, True, True, False, False]  # 4 go on
    assert go_on(points, 1.2) == [True] * 6  # 5 go on, and the two on the last place are equally crowded


def test_among_equal_ranks_the_lonelier_goes_on():
    """Between the ends (0, 10) and (10, 0): (1, 8) has neighbours 5 and 6 apart, (5, 4) 9 and 8 of 10 and 10."""
    front = [(0, 10), (1, 8), (5, 4), (10, 0)]
    assert crowding_distance(front) == pytest.approx([math.inf, 0.5 + 0.6, 0.9 + 0.8, math.inf])
    assert go_on(front, 4 / 3) == [True, False, True, True]


def test_a_copy_is_as_lonely_as_what_it_copies():
    assert crowding_distance([(0, 2), (1, 1), (1, 1), (2, 0)]).tolist() == [math.inf, 2.0, 2.0, math.inf]
    assert crowding_distance([(1, 1), (1, 1)]).tolist() == [math.inf, math.inf]


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        survives([(0.0, math.nan), (1.0, 1.0)], 1, 2)


@given(points=POINTS, factor=FACTORS)
def test_whoever_goes_on_is_ahead_of_whoever_stops(points, factor):
    """Ranks from Optuna's own sorting: nobody who stops has a better rank than one who goes on."""
    rank = _fast_non_domination_rank(np.array(points))
    kept = go_on(points, factor)
    stopped = [r for r, goes in zip(rank, kept, strict=True) if not goes]
    assert not stopped or max(r for r, goes in zip(rank, kept, strict=True) if goes) <= min(stopped)


@given(points=POINTS, factor=FACTORS)
def test_at_least_the_places_are_filled_and_only_ties_go_beyond(points, factor):
    places, kept = math.ceil(len(points) / factor), go_on(points, factor)
    assert sum(kept) >= places
    rank = _fast_non_domination_rank(np.array(points))
    last = max(r for r, goes in zip(rank, kept, strict=True) if goes)
    on_last = [i for i in range(len(points)) if rank[i] == last]
    distance = crowding_distance([points[i] for i in on_last])
    tied = [d for i, d in zip(on_last, distance, strict=True) if kept[i]]
    assert sum(kept) - tied.count(min(tied)) < places


@given(points=POINTS, factor=FACTORS)
def test_a_front_that_has_room_is_never_stopped(points, factor):
    rank = _fast_non_domination_rank(np.array(points))
    if (rank == 0).sum() <= math.ceil(len(points) / factor):
        assert all(goes for goes, r in zip(go_on(points, factor), rank, strict=True) if r == 0)


@given(points=POINTS, factor=FACTORS)
def test_whoever_is_dominated_by_as_many_as_there_are_places_stops(points, factor):
    array, kept = np.array(points), go_on(points, factor)
    for i, point in enumerate(array):
        ahead = ((array <= point).all(1) & (array < point).any(1)).sum()
        assert not (ahead >= math.ceil(len(points) / factor) and kept[i])
        assert ahead or kept[i] or len(points) > 1  # the first at a rung goes on


@given(
    points=POINTS,
    factor=FACTORS,
    scale=st.tuples(*[st.sampled_from([0.25, 1.0, 8.0])] * 2),
    shift=st.tuples(*[st.integers(-5, 5)] * 2),
    order=st.randoms(use_true_random=False),
)
def test_neither_units_nor_order_matter(points, factor, scale, shift, order):
    changed = [tuple(s * x + d for s, x, d in zip(scale, point, shift, strict=True)) for point in points]
    assert go_on(changed, factor) == go_on(points, factor)  # powers of 2 and whole numbers: without rounding
    positions = list(range(len(points)))
    order.shuffle(positions)
    shuffled = go_on([points[i] for i in positions], factor)
    assert shuffled == [go_on(points, factor)[i] for i in positions]


@given(values=st.lists(COORDINATES, min_size=1, max_size=24, unique=True), factor=FACTORS)
def test_with_equal_speeds_it_is_asha(values, factor):
    """One objective: exactly the best ceil(n / factor) values go on."""
    best = sorted(values)[: math.ceil(len(values) / factor)]
    assert [v for v, goes in zip(values, go_on([(v, 1.0) for v in values], factor), strict=True) if goes] == [
        v for v in values if v in best
    ]

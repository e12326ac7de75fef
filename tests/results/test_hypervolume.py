import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from optuna._hypervolume import compute_hypervolume

from imer_ray.results.hypervolume import hypervolume, hypervolume_history

REFERENCE = (1.0, 1.0)
POINTS = arrays(float, st.tuples(st.integers(0, 15), st.just(2)), elements=st.floats(-1, 1.5, width=32))


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_a_staircase_has_its_closed_form(n):
    i = np.arange(n)
    staircase = np.column_stack([i, n - 1 - i])  # n^2 less the n (n - 1) / 2 unit squares below the steps
    assert hypervolume(staircase, (n, n)) == n * n - n * (n - 1) / 2


def test_one_point_is_one_box():
    assert hypervolume([[0.25, 0.5]], REFERENCE) == 0.75 * 0.5


def test_a_quarter_circle_approaches_its_area():
    angle = np.linspace(0, np.pi / 2, 2001)
    arc = 1 - np.column_stack([np.cos(angle), np.sin(angle)])
    assert hypervolume(arc, REFERENCE) == pytest.approx(np.pi / 4, abs=1e-3)  # error of order 1 / 2001 steps


@pytest.mark.parametrize(
    "point", [[1.0, 0.0], [0.0, 1.0], [1.1, -5], [np.nan, 0], [0, np.inf], [-np.inf, 0], [-np.inf, -np.inf]]
)
def test_points_on_or_beyond_the_reference_and_unmeasured_ones_add_nothing(point):
    assert hypervolume([point], REFERENCE) == 0
    assert hypervolume([point, [0.5, 0.5]], REFERENCE) == 0.25


def test_no_points_have_no_volume():
    assert hypervolume(np.empty((0, 2)), REFERENCE) == 0
    assert hypervolume([], REFERENCE) == 0


@pytest.mark.parametrize("reference", [(1.0,), (np.nan, 1.0), (1.0, np.inf), (1.0, 1.0, np.nan)])
def test_the_reference_is_of_finite_numbers(reference):
    with pytest.raises(ValueError, match="two or more finite numbers"):
        hypervolume([[0] * len(reference)], reference)


@pytest.mark.parametrize("number", [3, 4, 5])
def test_boxes_in_more_objectives_have_their_closed_form(number):
    """One box, the union of K halves of the unit cube, which leaves out one corner of it, and a stair."""
    one = np.full(number, 0.5)
    assert hypervolume([one], [1.0] * number) == pytest.approx(0.5**number)
    slabs = np.where(np.eye(number) > 0, 0.5, 0.0)  # all but half of objective k
    assert hypervolume(slabs, [1.0] * number) == pytest.approx(1 - 0.5**number)
    levels = [[i / 10, *([(9 - i) / 10] * (number - 1))] for i in range(10)]  # steps of a stair, the other sides equal
    expected = sum(0.1 * (1 - (9 - i) / 10) ** (number - 1) for i in range(10))
    assert hypervolume(levels, [1.0] * number) == pytest.approx(expected)


@pytest.mark.parametrize("number", [3, 4])
@given(st.data())
@settings(deadline=None, max_examples=40)
def test_in_more_objectives_it_is_optunas_and_grows_by_what_a_point_adds(number, data):
    grid = st.sampled_from(np.linspace(0, 1.25, 6).tolist())  # ties, copies, and what lies beyond
    points = np.array(data.draw(st.lists(st.lists(grid, min_size=number, max_size=number), min_size=1, max_size=12)))
    inside = points[(points < 1).all(1)]
    expected = compute_hypervolume(inside, np.ones(number)) if len(inside) else 0.0
    assert hypervolume(points, [1.0] * number) == pytest.approx(expected, abs=1e-12)
    history = hypervolume_history(points, [1.0] * number)
    assert history == pytest.approx([hypervolume(points[: i + 1], [1.0] * number) for i in range(len(points))])


@given(POINTS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_and_copies_do_not_matter(points, random):
    order = list(range(len(points))) * 2
    random.shuffle(order)
    assert hypervolume(points[order], REFERENCE) == pytest.approx(hypervolume(points, REFERENCE))


@given(POINTS, st.tuples(st.floats(-1, 0.99), st.floats(-1, 0.99)))
@settings(deadline=None)
def test_a_further_point_never_lessens_it_and_a_dominating_one_adds(points, point):
    before = hypervolume(points, REFERENCE)
    assert hypervolume(np.vstack([points, point]), REFERENCE) >= before - 1e-12
    beyond_all = np.vstack([points, [[-1.25, -1.25]]])
    assert hypervolume(beyond_all, REFERENCE) == pytest.approx(2.25**2)
    assert before < 2.25**2


@given(POINTS)
@settings(deadline=None)
def test_it_is_optunas(points):
    from optuna._hypervolume import compute_hypervolume

    inside = points[(points <= REFERENCE).all(1)]
    theirs = compute_hypervolume(inside, np.array(REFERENCE)) if len(inside) else 0.0
    assert hypervolume(points, REFERENCE) == pytest.approx(theirs)


@given(POINTS)
@settings(deadline=None)
def test_history_is_the_hypervolume_of_every_beginning(points):
    expected = [hypervolume(points[: n + 1], REFERENCE) for n in range(len(points))]
    assert hypervolume_history(points, REFERENCE) == pytest.approx(expected)

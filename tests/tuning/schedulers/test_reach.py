"""What an unfinished training can be expected to add, beside the formula and draws."""

import numpy as np
import pytest

from imer_ray.results.hypervolume import hypervolume
from imer_ray.tuning.schedulers._halving import order
from imer_ray.tuning.schedulers._reach import MIN_KNOWN, Reach, _foretold

REFERENCE = (1.0, 1.0)


def test_nothing_is_foretold_before_enough_have_ended():
    reach, reached = Reach(REFERENCE), {trial: 0.1 * trial for trial in range(MIN_KNOWN)}
    for trial in range(MIN_KNOWN):
        assert reach.gains([0.2], [(0.5,)], reached) is None
        reach.ended(trial, [(0.1 * trial, 0.5)])
    assert reach.gains([0.2], [(0.5,)], reached) is not None
    assert reach.gains([0.2], [(0.5,)], {}) is None  # they were not seen at this rung


def test_the_line_and_its_spread_are_those_of_statistics():
    """Worked by hand: b = 0.6, a = 2.2, s^2 = 0.8."""
    known = np.array([[1, 2], [2, 4], [3, 5], [4, 4], [5, 5]], dtype=float)
    mean, deviation = _foretold(np.array([3.0, 6.0]), known)
    assert mean == pytest.approx([4.0, 5.8])
    assert deviation == pytest.approx(np.sqrt([0.8 * 1.2, 0.8 * (1.2 + 0.9)]))


def test_a_line_that_would_fall_is_level():
    (mean,), (deviation,) = _foretold(np.array([9.0]), np.array([[1, 4], [2, 3], [3, 2], [4, 1]], dtype=float))
    assert (mean, deviation) == pytest.approx((2.5, np.sqrt(5 / 2 * 1.25)))


def test_the_gain_is_the_mean_over_what_may_come():
    rng, reach = np.random.default_rng(0), Reach(REFERENCE)
    values, qualities, speeds = rng.random(8), rng.random(8), rng.random(8)
    for trial, point in enumerate(zip(qualities, speeds, strict=True)):
        reach.ended(trial, [point, (0.9, 0.05)])  # a further point of each
    points = [*zip(qualities, speeds, strict=True), (0.9, 0.05)]
    (found,) = reach.gains([0.3], [(0.4,)], dict(enumerate(values)))
    (mean,), (deviation,) = _foretold(np.array([0.3]), np.column_stack([values, qualities]))
    before = hypervolume(points, REFERENCE)
    drawn = mean + deviation * rng.standard_normal(4000)
    gains = [hypervolume([*points, (quality, 0.4)], REFERENCE) / before - 1 for quality in drawn]
    assert found == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(len(gains)))


def test_what_is_no_cost_is_as_it_was_of_the_others():
    reach = Reach((1.0, 1.0, 1.0))
    for trial in range(MIN_KNOWN):
        reach.ended(trial, [(0.05 * trial + 0.3, 0.5, 0.2 + 0.05 * trial)])
    reached = {trial: 0.1 * trial for trial in range(MIN_KNOWN)}
    better, worse = reach.gains([0.0, 0.5], [(0.1, None)] * 2, reached)
    assert better > worse > 0


def test_points_are_ordered_by_rank_and_then_by_room():
    points = [[3, 3], [0, 2], [1, 1], [1.1, 0.9], [2, 0], [3, 3]]
    assert order(points) == [1, 4, 2, 3, 0, 5]
    assert order(np.empty((0, 2))) == []

"""Which readings count and how sure their median is, against tables, arithmetic by hand and the binomial law."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.evaluation.timing.robust_median import CONSISTENT, median_interval, without_outliers


@pytest.mark.parametrize(
    ("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (15, 4, 12), (20, 6, 15), (30, 10, 21)]
)
def test_the_interval_is_that_of_published_tables(n, low, high):
    """Order statistics of the median's 95 % interval, as in Conover, Practical Nonparametric Statistics, table A3."""
    shuffled = [(7 * i) % 31 for i in range(31) if (7 * i) % 31 in range(1, n + 1)]
    assert median_interval(shuffled) == (low, high)


@given(st.integers(1, 60))
def test_the_interval_holds_the_median_with_95_percent_and_none_inside_does(n):
    """The number of readings below the median is binomial: x_(k) > median has the probability P(Bin(n, 1/2) < k)."""

    def missed(k):
        return 2 * sum(Fraction(math.comb(n, i), 2**n) for i in range(k))

    low, high = median_interval(range(1, n + 1))
    assert low + high == n + 1
    assert missed(low) <= Fraction(1, 20) or low == 1
    assert missed(low + 1) > Fraction(1, 20)
    assert (missed(1) <= Fraction(1, 20)) == (n >= 6)


def test_a_reading_beyond_three_robust_deviations_is_left_out():
    """ln readings 0, +-d, +-d, x: median 0 and MAD d, so that x counts up to 3 x 1.4826 d."""
    d = 0.1
    for factor, counts in ((0.999, True), (1.001, False)):
        logs = [0.0, d, -d, d, -d, -3 * CONSISTENT * d * factor, 3 * CONSISTENT * d * factor]
        kept = without_outliers([math.exp(log) for log in logs])
        assert kept == (list(range(7)) if counts else list(range(5)))


def test_twice_as_slow_is_as_far_off_as_twice_as_fast():
    steady = [0.98, 0.99, 1.0, 1.01, 1.02]
    assert without_outliers([*steady, 2.0]) == without_outliers([*steady, 0.5]) == [0, 1, 2, 3, 4]


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(0.1, 10))
def test_at_least_half_stay_whatever_the_unit(readings, unit):
    kept = without_outliers(readings)
    assert len(kept) >= len(readings) / 2
    if len(set(readings)) == 1:
        assert len(kept) == len(readings)
    powers = [2.0 ** round(math.log2(reading)) for reading in readings]
    scale = 2.0 ** round(math.log2(unit))
    assert without_outliers(powers) == without_outliers([scale * power for power in powers])

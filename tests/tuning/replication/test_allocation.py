"""Which point gets the next seed: worked out by hand, against scipy, and as properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from imer_ray.results.pareto import pareto_front
from imer_ray.tuning.replication import allocation
from imer_ray.tuning.replication.allocation import SETTLED, Sample, next_to_run


def sample(*values, running=0, left=4):
    return Sample(values=np.array(values, dtype=float), num_running=running, num_left=left)


def doubts(samples):
    return allocation.doubts(samples, range(len(samples)))


def test_the_doubt_is_the_probability_of_being_dominated():
    samples = [sample([0.20, 1.0], [0.24, 1.2]), sample([0.30, 0.9]), sample([0.21, 1.3], [0.25, 1.3], [0.23, 1.3])]
    # pooled: quality (2 * 0.02**2 + 2 * 0.02**2) / 3, speed 2 * 0.1**2 / 3; three degrees of freedom
    s = [math.sqrt(0.0016 / 3), math.sqrt(0.02 / 3)]
    m, n = [(0.22, 1.1), (0.30, 0.9), (0.23, 1.3)], [2, 1, 3]

    def dominates(j, i):
        t = [(m[i][k] - m[j][k]) / (s[k] * math.sqrt(1 / n[i] + 1 / n[j])) for k in (0, 1)]
        return stats.t.cdf(t[0], 3) * stats.t.cdf(t[1], 3)

    expected = [max(dominates(j, i) for j in range(3) if j != i) for i in range(3)]
    assert doubts(samples) == pytest.approx(expected)
    assert allocation.doubts(samples, [2, 0]) == pytest.approx([expected[2], expected[0]])
    assert next_to_run(samples) == int(np.argmax(expected[:2]))  # the third is not on the front


def test_without_any_spread_known_the_point_with_fewest_seeds_is_next():
    samples = [sample([0.2, 2.0], running=1), sample([0.3, 1.0]), sample([0.4, 3.0])]
    assert next_to_run(samples) == 1
    assert np.isnan(doubts(samples)).all()


def test_points_off_the_front_or_without_seeds_left_are_not_run():
    assert next_to_run([sample([0.2, 1.0], left=0), sample([0.3, 2.0])]) is None
    assert next_to_run([]) is None


def test_settled_points_need_no_further_seed():
    far = [sample([0.2, 2.0], [0.21, 2.0], [0.19, 2.0]), sample([0.4, 1.0], [0.41, 1.0], [0.39, 1.0])]
    assert (doubts(far) < SETTLED).all() and next_to_run(far) is None
    alone = [*far, sample([0.1, 3.0])]  # as far from the others, but who knows by how much it was lucky
    assert doubts(alone)[2] < SETTLED and next_to_run(alone) == 2
    assert next_to_run([*far, sample([0.1, 3.0], running=1)]) is None
    near = [sample([0.2, 1.001], [0.3, 1.002], [0.1, 0.999]), sample([0.21, 1.0], [0.31, 1.001], [0.11, 0.998])]
    assert next_to_run(near) is not None


def test_without_spread_dominance_is_certain_and_equal_points_are_even():
    same = [sample([0.2, 1.0], [0.2, 1.0]), sample([0.2, 1.0], [0.2, 1.0]), sample([0.3, 1.5], [0.3, 1.5])]
    assert doubts(same).tolist() == [0.25, 0.25, 1.0]


def test_runs_under_way_count_so_that_they_spread():
    samples = [sample([0.20, 1.0], [0.24, 1.1]), sample([0.24, 0.95], [0.26, 1.0])]
    first = next_to_run(samples)
    started = [sample(*s.values, running=30 * (i == first)) for i, s in enumerate(samples)]
    assert doubts(started)[first] < doubts(samples)[first]


results = st.lists(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=4), min_size=1, max_size=6
)


@settings(max_examples=80, deadline=None)
@given(results, st.integers(0, 3))
def test_what_is_run_is_on_the_front_of_the_means_and_has_seeds_left(values, left):
    samples = [sample(*rows, left=left + 1 - len(rows)) for rows in values]
    chosen = next_to_run(samples)
    front = pareto_front([np.mean(rows, axis=0) for rows in values])
    open_points = [i for i in np.flatnonzero(front) if samples[i].num_left > 0]
    if chosen is None:
        assert not open_points or all(doubts(samples)[i] < SETTLED and len(values[i]) > 1 for i in open_points)
    else:
        assert chosen in open_points
    if any(len(rows) > 1 for rows in values):
        assert ((doubts(samples) >= 0) & (doubts(samples) <= 1)).all()

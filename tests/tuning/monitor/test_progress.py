"""The numbers of a study while it runs: as if counted anew from all rows, whenever they came."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.pareto import pareto_front
from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.monitor.progress import Tally
from imer_ray.tuning.monitor.time_left import TimeLeft
from imer_ray.tuning.objectives.objectives import objectives

INFO = StudyInfo(
    study="demo",
    objectives=objectives(quality="Non0_F1_score", speed="latency"),
    num_trials=24,
    searcher="tpe",
    space=(),
)


def row(trial, f1=0.7, speedup=10.0, point=0, status="complete", reused=1.0, computed=3.0, **more):
    measured = {
        "valid.Non0_F1_score": f1,
        "speedup_vs_imder": speedup,
        "objective.quality": 1 - f1,
        "objective.speed": -float(np.log10(speedup)),
    }
    costs = {"seconds_reused": reused, "seconds_computed": computed}
    found = measured if status == "complete" else {}
    return {"trial": trial, "point": point, "status": status, **costs, **found, **more}


def counted(rows, running=()):
    tally = Tally(INFO)
    tally.count(rows)
    return tally.progress(running)


def test_states_best_values_front_and_what_was_reused():
    rows = [row(0, 0.7, 10.0), row(0, 0.6, 100.0, point=1, reused=99.0), row(1, 0.5, 10.0), row(2, status="failed")]
    rows += [row(3, status="stopped", computed=9.0, reused=3.0), row(0, point=2, status="failed")]
    progress = counted(rows, running=range(10, 14))
    assert (progress.complete, progress.running, progress.stopped, progress.failed) == (2, 4, 1, 1)
    assert progress.done == 4 and progress.num_points == 3 and progress.front == 2
    assert progress.hypervolume == pytest.approx(0.3)  # 0.2 * 1 + 0.1 * (2 - 1)
    assert progress.best == {"valid.Non0_F1_score": 0.7, "speedup_vs_imder": 100.0}
    assert progress.reused == pytest.approx(6 / 24)  # of the trials' own computing time


def test_before_the_first_point_there_is_no_front():
    progress = counted([row(0, status="failed")])
    assert (progress.num_points, progress.front, progress.hypervolume, progress.best) == (0, 0, 0.0, {})


def test_points_that_break_a_constraint_count_but_not_for_the_front_and_repeats_count_once():
    rows = [row(0, 0.7), row(1, 0.9, feasible=False), row(0, 0.95, repeat=1)]
    progress = counted(rows)
    assert (progress.done, progress.num_points, progress.front) == (2, 2, 1)
    assert progress.best["valid.Non0_F1_score"] == 0.7


ROWS = st.lists(
    st.builds(
        row,
        trial=st.integers(0, 9),
        f1=st.integers(0, 10).map(lambda x: x / 10),
        speedup=st.integers(0, 3).map(lambda x: 10.0**x),
        point=st.integers(0, 2),
        status=st.sampled_from(["complete", "complete", "stopped", "failed"]),
    ),
    max_size=30,
)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 30)))
def test_however_rows_come_in_the_numbers_are_those_of_all_of_them(rows, cuts):
    tally = Tally(INFO)
    for cut in [*sorted(cuts), len(rows)]:
        tally.count(rows[:cut])
        progress = tally.progress([])
    points = np.array([[r["objective.quality"], r["objective.speed"]] for r in rows if r["status"] == "complete"])
    if len(points):
        assert progress.front == pareto_front(points).sum()
        assert progress.hypervolume == pytest.approx(hypervolume(points, INFO.reference))
        assert progress.best["valid.Non0_F1_score"] == pytest.approx(1 - points[:, 0].min())
    assert progress.num_points == len(points)
    assert progress.done == len({r["trial"] for r in rows if r["point"] == 0})


def test_a_trial_that_goes_on_after_a_stop_is_counted_once_as_what_it_is():
    tally = Tally(INFO)
    stopped = [row(0, status="stopped"), row(1)]
    tally.count(stopped)
    assert (tally.progress([]).stopped, tally.progress([]).done) == (1, 2)
    again = tally.progress([0])
    assert (again.stopped, again.running, again.done) == (0, 1, 1)
    tally.count([*stopped, row(0, 0.9)])
    ended = tally.progress([])
    assert (ended.complete, ended.stopped, ended.done, ended.best["valid.Non0_F1_score"]) == (2, 0, 2, 0.9)


def test_time_left_is_the_pace_of_the_last_third_times_the_trials_left():
    left = TimeLeft(num_done=12)  # twelve of an earlier command say nothing of this one
    left.note(12, 0.0)
    for n, now in enumerate((100.0, 101.0, 102.0), start=13):  # the first waited for what all share
        assert left.seconds(24 - n + 1, 4, now) is None
        left.note(n, now)
    assert left.seconds(9, 0, 104.0) == (104 - 100) / 2 * 9  # two gaps in four seconds
    assert left.seconds(9, 4, 104.0) == (104 - 100) / 2 * 7  # those that run are half done
    assert left.seconds(9, 4, 204.0) > 20 * left.seconds(9, 4, 104.0)  # nothing ends any more
    assert left.seconds(0, 0, 204.0) is None


@given(gap=st.floats(0.1, 100), n=st.integers(3, 60), wait=st.floats(0, 1000), left=st.integers(1, 100))
def test_at_a_steady_pace_it_is_exact_whatever_the_first_trials_waited_for(gap, n, wait, left):
    estimate = TimeLeft(0)
    for i in range(n):
        estimate.note(i + 1, wait + gap * i)
    assert estimate.seconds(left, 0, wait + gap * (n - 1)) == pytest.approx(gap * left, rel=1e-6)

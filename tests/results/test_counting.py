"""Counting by hand: results that rows stand for, and the computing that was reused."""

import json
import math

import pytest

from imer_ray.results.counting import Reuse, identity


def row(point=0, computed=3.0, reused=1.0, **more):
    return {"trial": 0, "point": point, "seconds_computed": computed, "seconds_reused": reused, **more}


def test_reuse_is_of_what_the_trials_own_points_asked_for():
    rows = [row(), row(point=1, computed=0.5, reused=99.0), row(repeat=1, reused=0.0), row(computed=5.0, repeat=0)]
    found = Reuse().and_of(rows)
    assert (found.computed_s, found.reused_s, found.total_s) == (8.0, 2.0, 10.0)
    assert found.share == pytest.approx(0.2)
    assert Reuse().and_of(rows[:1]).and_of(rows[1:]) == found  # however the rows come


def test_what_was_not_measured_counts_as_nothing():
    rows = [row(computed=None, reused=math.nan), row(point=math.nan, computed=2.0, reused=None)]
    assert Reuse().and_of(rows) == Reuse(computed_s=2.0)
    assert Reuse().share == 0.0


def test_rows_stand_for_one_result_if_their_last_stage_is_one():
    first = {"stages": json.dumps({"encode": "a", "evaluate": "b"}), "trial": 1}
    assert identity(first) == identity({**first, "trial": 2, "point": 1})
    assert identity(first) != identity({"stages": json.dumps({"encode": "a", "evaluate": "c"})})
    assert identity({"stages": None}) is None and identity({}) is None and identity({"stages": "{}"}) is None

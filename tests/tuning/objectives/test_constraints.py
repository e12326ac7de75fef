"""Constraints: how they are read, what they say of a row, and what a study makes of them."""

import json
import math

import optuna
import pytest
from changed import changed
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError
from imer_ray.results.schema import read_info, read_results
from imer_ray.tuning.objectives.constraints import Constraint, parse
from imer_ray.tuning.objectives.objectives import NotMeasured
from imer_ray.tuning.study.results_file import complete_row, write
from imer_ray.tuning.study.study import open_record, plan

FIRST = {"diffusion.sde": "ve", "diffusion.num_steps": 4}


@pytest.mark.parametrize(
    ("text", "row", "violation"),
    [
        ("latency_ms_b1 <= 5", {"latency_ms_b1": 4.0}, -0.2),
        ("latency_ms_b1<=5", {"latency_ms_b1": 5.0}, 0.0),
        ("num_parameters <= 2e6", {"num_parameters": 3e6}, 0.5),
        ("valid.Non0_F1_score >= 0.8", {"valid.Non0_F1_score": 0.6}, 0.25),
        ("valid.l.Corr >= -0.5", {"valid.l.Corr": -1.0}, 1.0),
        ("valid.Corr >= 0", {"valid.Corr": -0.25}, 0.25),
    ],
)
def test_a_violation_is_a_share_of_the_bound(text, row, violation):
    (constraint,) = parse([text])
    assert constraint.violation(row) == pytest.approx(violation)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.booleans())
def test_a_violation_is_positive_where_the_bound_is_broken_and_nowhere_else(bound, value, upper):
    constraint = Constraint(column="nfe", upper=upper, bound=bound)
    kept = value <= bound if upper else value >= bound
    assert (constraint.violation({"nfe": value}) <= 0) == kept
    assert parse([constraint.text])[0].column == "nfe"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency_ms_b2 <= 5", "no column latency_ms_b2; did you mean latency_ms_b1?"),
        ("valid.MEA <= 5", "no column valid.MEA; did you mean valid.MAE?"),
        ("MAE <= 1", "no column MAE; (did you mean|choose one of)"),
        ("nfe < 5", "use <= or >= in place of <"),
        ("nfe == 5", "use <= or >= in place of =="),
        ("nfe <= five", "five is no finite number"),
        ("nfe <= inf", "inf is no finite number"),
        ("nfe", "cannot read 'nfe'; write a column, <= or >=, and a number"),
        ("nfe <= 5 ms", "cannot read"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(UserError, match=message):
        parse([text])


def test_the_same_is_not_bounded_twice_but_from_both_sides():
    assert [c.text for c in parse(["nfe >= 2", "nfe <= 8"])] == ["nfe >= 2", "nfe <= 8"]
    with pytest.raises(UserError, match="nfe is bounded twice"):
        parse(["nfe <= 8", "nfe<=9"])


@pytest.mark.parametrize("row", [{}, {"nfe": None}, {"nfe": math.nan}])
def test_what_was_not_measured_keeps_no_constraint(row):
    with pytest.raises(NotMeasured, match="nfe, which study.constraints bounds"):
        Constraint(column="nfe", upper=True, bound=8).violation(row)


def test_they_are_given_on_the_command_line():
    composed = compose(SearchConfig, "search", ['study.constraints=["latency_ms_b1 <= 5", "valid.MAE <= 1.2"]'])
    assert composed.study.constraints == ("latency_ms_b1 <= 5", "valid.MAE <= 1.2")
    assert compose(SearchConfig, "search", ["study.constraints='nfe <= 8'"]).study.constraints == ("nfe <= 8",)


@pytest.fixture
def planned(options):
    def planned(*constraints):
        return plan(changed(options, study={"constraints": constraints}), systems="toy_systems")

    return planned


def tell(record, proposal, **metrics):
    row = {"config": json.dumps(proposal.config), "error": None, "valid.Non0_F1_score": 0.7, "speedup_vs_imder": 9.0}
    return record.tell(proposal.trial, [complete_row("toy", proposal.trial, 0, {**row, **metrics})])[0]


def test_what_breaks_a_constraint_is_complete_but_not_feasible_and_on_no_front(planned):
    searched = planned("nfe <= 8", "num_parameters <= 1000")
    record = open_record(searched)
    best, kept, failed, most = (record.ask() for _ in range(4))
    assert tell(record, best, speedup_vs_imder=90.0, nfe=12.0, num_parameters=10.0)["feasible"] is False
    assert tell(record, kept, nfe=8.0, num_parameters=1000.0)["feasible"] is True
    row = tell(record, failed, nfe=4.0)
    assert row["status"] == "failed" and row["error"].startswith("num_parameters, which study.constraints bounds")
    assert tell(record, most, nfe=16.0, num_parameters=2000.0)["feasible"] is False
    told = {t.user_attrs["trial"]: t for t in record._study.trials if "trial" in t.user_attrs}
    assert told[0].constraints == {"nfe <= 8": 0.5, "num_parameters <= 1000": pytest.approx(-0.99)}
    assert told[3].constraints == {"nfe <= 8": 1.0, "num_parameters <= 1000": 1.0}
    assert told[2].state == optuna.trial.TrialState.FAIL
    assert [t.number for t in record._study.best_trials] == [told[1].number]
    frame = read_results(write(searched, record))
    assert frame["status"].tolist() == ["complete", "complete", "failed", "complete"]
    assert frame["feasible"].tolist() == [False, True, None, False]
    assert read_info(searched.folder / "results.parquet").constraints == ("nfe <= 8", "num_parameters <= 1000")


def test_a_study_is_judged_by_the_constraints_that_it_was_begun_with(planned):
    searched = planned("nfe <= 8")
    record = open_record(searched)
    tell(record, record.ask(), nfe=12.0)
    again = open_record(planned("nfe<=8.0"))  # the same in other words
    assert [row["feasible"] for row in again.rows] == [False]
    message = r"constraint nfe <=: 8.0 -> 16.0\n.*study.warm_start=.*runs/toy has that one learn"
    with pytest.raises(UserError, match=message):
        open_record(planned("nfe <= 16"))

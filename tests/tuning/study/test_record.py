"""What every searcher must do, whatever comes of its trials, and what a record keeps when its driver is killed."""

import json
import math

import pytest
from optuna.trial import TrialState
from records import GRID, record, row, trials
from searchers_found import SAMPLERS, every_sampler

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError
from imer_ray.tuning.objectives.constraints import parse
from imer_ray.tuning.searchers import ANSWERED, DERIVED, FIDELITY
from imer_ray.tuning.study.journal import FILE_NAME, Journal, open_study

ENDINGS = ("complete", "complete", "error", "nan", "inf", "missing")


def test_a_sampler_is_a_file_and_the_configuration_offers_them_all():
    for name in SAMPLERS:
        assert compose(SearchConfig, "search", [f"study.searcher={name}"]).study.searcher == name
    with pytest.raises(UserError, match="study.searcher=tep: unknown key or option; did you mean tpe?"):
        compose(SearchConfig, "search", ["study.searcher=tep"])


@every_sampler
def test_whatever_comes_of_trials_none_is_left_running_and_failures_are_told(tmp_path, sampler):
    searched = record(tmp_path, sampler)
    told = {}
    for number in range(14):
        first, second = searched.ask(), searched.ask()  # two at a time, ended in the other order
        assert (first.trial, second.trial) == (2 * number, 2 * number + 1)
        for proposal in (second, first):
            ending = ENDINGS[(proposal.trial * 7) % len(ENDINGS)]
            told[proposal.trial] = ending
            (finished,) = searched.tell(proposal.trial, [row(proposal, ending)])
            assert finished["status"] == ("complete" if ending == "complete" else "failed")
            assert (finished["error"] is None) == (ending == "complete")
    states = {t.user_attrs["trial"]: t.state for t in trials(tmp_path) if "trial" in t.user_attrs}
    assert states == {n: TrialState.COMPLETE if e == "complete" else TrialState.FAIL for n, e in told.items()}
    assert {t.state for t in trials(tmp_path)} == {TrialState.COMPLETE, TrialState.FAIL}
    assert all(math.isfinite(v) for t in trials(tmp_path) for v in t.values or [])
    assert searched.running == []


@every_sampler
def test_resuming_keeps_all_and_repeats_nothing(tmp_path, sampler):
    proposals = []
    for _ in range(4):  # four drivers, one after another, six trials each
        searched = record(tmp_path, sampler)
        assert len(searched.rows) == len(proposals)
        for _ in range(6):
            proposals.append(searched.ask())
            searched.tell(proposals[-1].trial, [row(proposals[-1])])
    assert [p.trial for p in proposals] == list(range(24))
    configurations = {json.dumps(p.config, sort_keys=True) for p in proposals}
    assert len(configurations) == 24
    assert {json.loads(r["config"])["steps"] for r in record(tmp_path).rows} == {p.values["steps"] for p in proposals}


@every_sampler
def test_a_finite_space_is_searched_whole_and_then_known_to_be_exhausted(tmp_path, sampler):
    searched = record(tmp_path, sampler, GRID)
    seen = []
    while (proposal := searched.ask()) is not None:
        seen.append((proposal.values["sde"], proposal.values["steps"]))
        searched.tell(proposal.trial, [row(proposal, ENDINGS[len(seen) % len(ENDINGS)])])
        assert len(seen) <= 6
    assert sorted(seen) == [(sde, steps) for sde in ("ve", "vp") for steps in (1, 2, 3)]
    assert record(tmp_path, sampler, GRID).ask() is None
    assert TrialState.RUNNING not in {t.state for t in trials(tmp_path)}


def test_tpe_learns_what_is_good(tmp_path):
    """sde=ve with a sigma near 16 is best in both objectives."""
    searched = record(tmp_path, "tpe", population=8)
    near = []
    for _ in range(44):
        proposal = searched.ask()
        distance = abs(math.log2(proposal.values.get("sigma", 160) / 16))
        metrics = {"valid.Non0_F1_score": 0.9 - 0.1 * distance, "speedup_vs_imder": 100 * 0.5**distance}
        searched.tell(proposal.trial, [{**row(proposal), **metrics}])
        near.append(distance <= 0.5)
    assert sum(near[14:]) >= 12  # of 30; drawn at random 4.5, with standard deviation 2


@every_sampler
def test_trials_are_random_until_enough_of_them_are_complete_however_many_points_they_gave(tmp_path, sampler):
    """Two derived points a trial must not end the random start three times as early: same draws as without them."""
    with_points, without = record(tmp_path / "a", sampler), record(tmp_path / "b", sampler)
    for _ in range(4):
        first, second = with_points.ask(), without.ask()
        assert first.values == second.values
        derived = [row(first, point=i, steps=65 - i) for i in (1, 2)]
        with_points.tell(first.trial, [row(first), *derived])
        without.tell(second.trial, [row(second)])


def test_points_are_proposed_first_in_order_and_once(tmp_path):
    points = [{"sde": "ve", "sigma": 10.0, "steps": 8}, {"sde": "vp", "steps": 2}]
    searched = record(tmp_path)
    searched.enqueue(points)
    first = searched.ask()
    assert first.values == points[0]
    searched = record(tmp_path)  # killed here; the first point ran and is lost, the second was not yet proposed
    searched.enqueue([*points, {"sde": "vp", "steps": 3}])
    proposals = [searched.ask() for _ in range(4)]
    wanted = [points[1], points[0], {"sde": "vp", "steps": 3}]
    assert sorted(json.dumps(p.values) for p in proposals[:3]) == sorted(map(json.dumps, wanted))
    assert proposals[3].values not in wanted


def test_what_a_point_leaves_open_the_sampler_chooses(tmp_path):
    searched = record(tmp_path)
    searched.enqueue([{"sde": "ve"}])
    values = searched.ask().values
    assert values["sde"] == "ve" and 5 <= values["sigma"] <= 50


def test_derived_points_inform_the_sampler_and_are_not_proposed_again(tmp_path):
    searched = record(tmp_path, space=GRID)
    searched.enqueue([{"sde": "vp", "steps": 1}])
    proposal = searched.ask()
    rows = [row(proposal), row(proposal, point=1, steps=2), row(proposal, point=2, steps=64)]
    rows += [row(proposal, "nan", point=3, steps=3)]
    finished = searched.tell(proposal.trial, rows)
    assert [r["status"] for r in finished] == ["complete", "complete", "complete", "failed"]
    own, *derived = [t for t in trials(tmp_path) if t.state == TrialState.COMPLETE]
    assert [t.params for t in derived] == [{"sde": "vp", "steps": 2}]  # 64 steps lie outside the space, 3 failed
    assert derived[0].user_attrs[DERIVED] == own.number
    seen = set()
    while (proposal := searched.ask()) is not None:
        seen.add((proposal.values["sde"], proposal.values["steps"]))
        searched.tell(proposal.trial, [row(proposal)])
    assert seen == {("ve", 1), ("ve", 2), ("ve", 3)}


def test_what_is_known_is_answered_from_its_results_and_not_run(tmp_path):
    """steps=2 is known as a derived point: who proposes it hears its values and its constraint, under no number."""
    searched = record(tmp_path, space=GRID, constraints=parse(["nfe <= 2"]))
    searched.enqueue([{"sde": "vp", "steps": 1}, {"sde": "vp", "steps": 2}, {"sde": "ve", "steps": 3}])
    first = searched.ask()
    searched.tell(first.trial, [row(first, nfe=1.0), row(first, point=1, steps=2, nfe=3.0)])
    second = searched.ask()
    assert (second.trial, second.values) == (1, {"sde": "ve", "steps": 3})
    own, derived, answered, _ = trials(tmp_path)[0], *trials(tmp_path)[3:], *trials(tmp_path)[1:3]
    assert own.constraints == {"nfe <= 2": -0.5} and derived.params == answered.params == {"sde": "vp", "steps": 2}
    assert derived.values == answered.values and derived.constraints == answered.constraints == {"nfe <= 2": 0.5}
    assert answered.user_attrs[ANSWERED] == [0, 1] and answered.state == TrialState.COMPLETE
    assert len(searched.rows) == 2 and searched.finished == {0}


def test_a_configuration_that_two_trials_come_by_is_one_point(tmp_path):
    """Trials 0 and 1 both walk to 8 steps, and trial 2 has 16 steps as its own point while trial 0 walks there."""
    searched = record(tmp_path)
    searched.enqueue([{"sde": "vp", "steps": steps} for steps in (2, 4, 16)])
    first, second, third = searched.ask(), searched.ask(), searched.ask()
    searched.tell(second.trial, [row(second), row(second, point=1, steps=8), row(second, point=2, steps=16)])
    searched.tell(third.trial, [row(third)])
    searched.tell(first.trial, [row(first), row(first, point=1, steps=8), row(first, "error", point=2, steps=4)])
    assert len(searched.rows) == 7, "what each trial came by stays known"
    for same in (searched, record(tmp_path)):
        points = {(r["trial"], r["point"]): json.loads(r["config"])["steps"] for r in same.results}
        assert points == {(0, 0): 2, (0, 1): 8, (1, 0): 4, (2, 0): 16}
        assert len(same.results) == 4


def test_what_still_runs_is_not_answered(tmp_path):
    searched = record(tmp_path, space=GRID)
    searched.enqueue([{"sde": "vp", "steps": 1}, {"sde": "ve", "steps": 1}])
    searched.ask()
    searched._study.enqueue_trial({"sde": "vp", "steps": 1})
    searched.ask()
    assert searched.ask().values != {"sde": "vp", "steps": 1}
    assert [t.state for t in trials(tmp_path) if ANSWERED in t.user_attrs] == []
    assert trials(tmp_path)[2].state == TrialState.FAIL


@every_sampler
def test_stopped_trials_are_told_by_what_they_lack_and_are_on_no_front(tmp_path, sampler):
    searched = record(tmp_path, sampler)
    for number in range(12):
        proposal = searched.ask()
        told = row(proposal)
        if number % 3 == 0:  # objectives are not known
            told = {k: told[k] for k in ("trial", "point", "config", "error")} | {"status": "stopped", "fidelity": 0.25}
        elif number % 3 == 1:  # better than all others, if one believes the estimates
            told |= {"status": "stopped", "fidelity": 1.0, "objective.quality": 0.0, "objective.speed": -9.0}
        (finished,) = searched.tell(proposal.trial, [told])
        assert finished["status"] == ("complete" if number % 3 == 2 else "stopped")
    told = {t.user_attrs["trial"]: t for t in trials(tmp_path) if "trial" in t.user_attrs}
    assert {t.state for t in told.values()} == {TrialState.COMPLETE}
    assert [told[n].constraints for n in range(3)] == [{FIDELITY: 0.75}, {FIDELITY: 0.01}, {}]
    assert told[0].values == [0.5, 0.0] and told[1].values == [0.0, -9.0]  # the worst that counts; the estimates
    best = [t.user_attrs for t in open_study(Journal(tmp_path / FILE_NAME), 2).best_trials]
    numbers = [attributes["trial"] if "trial" in attributes else attributes[ANSWERED][0] for attributes in best]
    assert numbers and all(number % 3 == 2 for number in numbers)
    again = record(tmp_path, sampler)
    assert [r["status"] for r in again.rows] == [r["status"] for r in searched.rows]
    assert again.finished == set(range(12))


def test_a_trial_that_a_killed_driver_left_running_is_proposed_again_under_its_number(tmp_path):
    searched = record(tmp_path)
    done, lost, also = searched.ask(), searched.ask(), searched.ask()
    searched.tell(done.trial, [row(done)])
    for _ in range(2):  # killed twice before it could run
        searched = record(tmp_path)
        assert searched.finished == {done.trial}
    again = [searched.ask(), searched.ask()]
    assert {p.trial: p.values for p in again} == {lost.trial: lost.values, also.trial: also.values}
    assert searched.ask().trial == 3
    for proposal in again:
        searched.tell(proposal.trial, [row(proposal)])
    assert sorted(r["trial"] for r in record(tmp_path).rows) == [0, 1, 2]


def test_a_trial_killed_between_its_rows_and_its_end_is_finished_by_the_next_driver(tmp_path, monkeypatch):
    searched = record(tmp_path)
    proposal = searched.ask()
    monkeypatch.setattr(searched, "_finish", lambda *args: None)  # killed here
    searched.tell(proposal.trial, [row(proposal), row(proposal, point=1, steps=33)])
    searched = record(tmp_path)
    assert searched.finished == {0} and len(searched.rows) == 2
    assert [t.state for t in trials(tmp_path)] == [TrialState.COMPLETE, TrialState.COMPLETE]
    assert searched.ask().trial == 1


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_half_a_line_at_the_journals_end_is_dropped(tmp_path, cut):
    searched = record(tmp_path)
    for _ in range(3):
        proposal = searched.ask()
        searched.tell(proposal.trial, [row(proposal)])
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-cut])
    searched = record(tmp_path)
    assert searched.finished == {0, 1, 2}  # the last trial's rows were written before its end
    searched.ask()
    assert len(record(tmp_path).rows) == 3


def test_a_journal_damaged_in_the_middle_is_named(tmp_path):
    searched = record(tmp_path)
    searched.ask()
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:-9] + b"\n", *lines[2:]]))
    with pytest.raises(UserError, match=r"study\.journal is damaged"):
        record(tmp_path)

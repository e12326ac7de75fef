"""Ray Tune's side of a record: whatever Tune says of a trial, Optuna hears the end of it."""

import json
from types import SimpleNamespace

import pytest
from changed import changed
from optuna.trial import TrialState
from ray.tune.search import Searcher

from imer_ray.tuning.ray_tune.scheduler import goes_on, study_scheduler
from imer_ray.tuning.ray_tune.searcher import SAME_FAILURES, StudySearcher
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan


@pytest.fixture
def record(options):
    return open_record(plan(options, systems="toy_systems"))


@pytest.fixture
def searcher(record):
    return StudySearcher(record, slots=2, complete_row=lambda *args: complete_row("toy", *args))


def states(record):
    return [t.state for t in record._study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]


def test_no_more_trials_are_proposed_than_there_are_slots(searcher):
    assert [type(searcher.suggest(name)) for name in "abc"] == [dict, dict, type(None)]
    searcher.on_trial_complete("a", error=True)
    assert searcher.suggest("c")["trial"] == 2


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (None, True),  # the trial's process died
        ({"outcome": '{"rows": []}', "done": True}, True),
        (None, False),  # Tune removed it before it ran
        ({"stage": "pretrain", "epoch": 3, "done": True}, False),  # it was stopped
    ],
)
def test_a_trial_without_an_outcome_has_failed(record, searcher, result, error):
    searcher.suggest("a")
    searcher.on_trial_complete("a", result, error)
    assert states(record) == [TrialState.FAIL]
    (row,) = record.rows
    assert row["status"] == "failed" and "died or was stopped" in row["error"]
    assert json.loads(row["config"])["system"] == "decoupled"


def stopped(config, loss):
    """The last report of a stopped trial."""
    row = {"epochs": 33, "fidelity": 0.4, "rungs": json.dumps({"recognise": {"3": loss}}), "stages": "{}"}
    standing = {"compared": {"recognise": {"3": loss}}, "alone": [], "cost": {}, "row": row}
    return {"stage": "recognise", "epoch": 3, "standing": json.dumps(standing), "done": True}


def test_a_stopped_trial_leaves_a_row_is_infeasible_and_stays_stopped(options, record):
    ended = set()
    searcher = StudySearcher(record, slots=2, complete_row=lambda *args: complete_row("toy", *args), stopped=ended)
    config = searcher.suggest("a")
    searcher.suggest("b")
    ended.add("a")
    searcher.on_trial_complete("a", stopped(config, 0.5))
    searcher.on_trial_complete("b", stopped(config, 0.5))  # the same report, but the scheduler did not stop it
    own, other = record.rows
    assert (own["status"], own["epochs"], own["fidelity"], own["error"]) == ("stopped", 33, 0.4, None)
    assert (own["trial"], own["seed"], json.loads(own["config"])) == (0, 1111, record._configure(config["values"]))
    assert other["status"] == "failed" and "died or was stopped" in other["error"]
    told = record._study.get_trials(deepcopy=False)[0]
    assert told.state == TrialState.COMPLETE and told.constraints == {"fidelity": pytest.approx(0.6)}
    assert record._study.best_trials == []

    again = open_record(plan(options, systems="toy_systems"))
    assert again.rows[0] == own and 0 in again.finished
    assert again.ask().trial == 2


def test_a_resumed_study_judges_by_what_was_reached_before(options, record):
    searched = plan(changed(options, study={"scheduler": "asha"}), systems="toy_systems")
    ended = {"a"}
    searcher = StudySearcher(record, slots=2, complete_row=lambda *args: complete_row("toy", *args), stopped=ended)
    searcher.on_trial_complete("a", stopped(searcher.suggest("a"), 0.5))
    left = []
    scheduler = study_scheduler(searched, open_record(searched), left.append)
    values = {"diffusion.sde": "vp", "diffusion.num_steps": 64, "loss.recovery": 0.5}  # slower than the first, too
    report = {"compared": {"recognise": {"3": 0.9}}, "alone": ["recognise"], "cost": {}}
    trial = SimpleNamespace(trial_id="b", config={"trial": 1, "values": values})
    assert scheduler.on_trial_result(None, trial, {"standing": json.dumps(report)}) == "STOP"
    assert left == [1]


def test_a_trial_with_an_outcome_is_told_once(record, searcher):
    config = searcher.suggest("a")
    row = {"valid.Non0_F1_score": 0.7, "speedup_vs_imder": 9.0, "error": None}
    row["config"] = json.dumps(record._configure(config["values"]))
    result = {"outcome": json.dumps({"rows": [row]}), "done": True}
    for _ in range(2):
        searcher.on_trial_complete("a", result)
    searcher.on_trial_complete("unknown", result)
    assert states(record) == [TrialState.COMPLETE]
    assert len(record.rows) == 1


def test_when_the_user_must_put_something_right_nothing_is_told_and_nothing_more_proposed(record, searcher):
    searcher.suggest("a")
    searcher.suggest("b")
    searcher.on_trial_complete("a", {"outcome": json.dumps({"broken": "no data"}), "done": True})
    assert searcher.broken == "no data"
    assert searcher.suggest("c") == Searcher.FINISHED
    searcher.on_trial_complete("b", {"stage": "pretrain", "done": True})  # stopped with the search
    assert record.rows == [] and states(record) == [TrialState.RUNNING] * 2  # the next driver proposes them again


def test_trials_that_all_fail_alike_end_the_search(record, searcher):
    for number in range(SAME_FAILURES):
        assert searcher.broken is None
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), error=True)
    assert searcher.broken.startswith(f"all {SAME_FAILURES} trials failed in the same way")
    assert searcher.suggest("more") == Searcher.FINISHED


def test_nothing_is_saved_and_nothing_restored(searcher, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    searcher.save(str(tmp_path / "state.pkl"))
    searcher.restore(str(tmp_path / "state.pkl"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_stopped_trial_goes_on_before_anything_new_and_the_last_ones_wait_for_those_that_run(record):
    ended, wanted, asked = set(), [], []

    def resumed(is_last):
        asked.append(is_last)
        return wanted.pop() if wanted else None

    searcher = StudySearcher(
        record, 2, lambda *args: complete_row("toy", *args), stopped=ended, num_trials=3, resumed=resumed
    )
    first, _ = searcher.suggest("a"), searcher.suggest("b")
    ended.add("a")
    searcher.on_trial_complete("a", stopped(first, 0.5))
    wanted.append(0)
    assert searcher.suggest("c") == first  # under another name of Tune's
    assert [row["trial"] for row in record.rows] == []
    searcher.on_trial_complete("b", error=True)
    assert searcher.suggest("d")["trial"] == 2
    searcher.on_trial_complete("d", error=True)
    assert searcher.suggest("e") is None and asked == [False] * 4 + [True]  # trial 0 may have others resumed
    searcher.on_trial_complete("c", error=True)
    assert searcher.suggest("e") == Searcher.FINISHED
    assert record.finished == {0, 1, 2}


def test_what_an_earlier_command_paused_goes_on_in_the_next(options):
    planned = plan(changed(options, study={"scheduler": "asha"}), systems="toy_systems")
    ended = set()
    searcher = StudySearcher(
        open_record(planned), slots=1, complete_row=lambda *args: complete_row("toy", *args), stopped=ended
    )
    first = searcher.suggest("a")
    ended.add("a")
    searcher.on_trial_complete("a", stopped(first, 0.5))
    again = open_record(planned)
    scheduler = study_scheduler(planned, again, lambda trial: None)
    assert scheduler.resumed(True) == 0 and again.resume(0).values == first["values"]
    assert scheduler.resumed(True) is None


def test_a_study_whose_driver_died_before_a_paused_trial_went_on_lacks_something(options):
    planned = plan(changed(options, study={"scheduler": "asha", "num_trials": 2}), systems="toy_systems")
    record, ended = open_record(planned), {"a"}
    searcher = StudySearcher(record, 2, lambda *args: complete_row("toy", *args), stopped=ended, num_trials=2)
    first = searcher.suggest("a")
    searcher.suggest("b")
    searcher.on_trial_complete("b", error=True)
    assert not goes_on(planned, record)  # whatever runs is no business of those who are paused
    searcher.on_trial_complete("a", stopped(first, 0.5))
    again = open_record(planned)
    assert len(again.finished) == planned.info.num_trials and goes_on(planned, again)
    assert again.finished == {0, 1}  # it was only asked
    again.resume(0)
    assert not goes_on(planned, again)

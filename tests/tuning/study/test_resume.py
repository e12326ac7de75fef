"""A trial that was stopped goes on under its number: it has one row, survives its driver, and models see it once."""

import json

from optuna.trial import TrialState
from records import record, row

from imer_ray.tuning.searchers import FIDELITY
from imer_ray.tuning.searchers._window import window


def paused(record, steps, epochs=3):
    proposal = record.ask()
    stopped = {"status": "stopped", "fidelity": 0.3, "epochs": epochs, "rungs": json.dumps({"recognise": {"3": 0.5}})}
    record.tell(proposal.trial, [{**row(proposal, steps=steps), **stopped}])
    return proposal


def test_a_stopped_trial_goes_on_under_its_number_and_has_one_row(tmp_path):
    kept = record(tmp_path, "ehvi")
    kept.enqueue([{"steps": 4, "sde": "vp"}, {"steps": 2, "sde": "vp"}])
    first, second = paused(kept, 4), kept.ask()
    kept.tell(second.trial, [row(second)])
    assert kept.finished == {0, 1}
    again = kept.resume(0)
    assert again == first and kept.running == [0] and kept.finished == {1}
    assert [each["trial"] for each in kept.rows] == [1]
    third = kept.ask()
    assert third.trial == 2  # it is not proposed as new
    kept.tell(0, [row(again)])
    assert [(each["trial"], each["status"]) for each in kept.rows] == [(1, "complete"), (0, "complete")]
    assert [(each["trial"], each["status"]) for each in kept.history] == [
        (0, "stopped"),
        (1, "complete"),
        (0, "complete"),
    ]
    reopened = record(tmp_path, "ehvi")
    assert sorted((each["trial"], each["status"]) for each in reopened.rows) == [(0, "complete"), (1, "complete")]
    assert reopened.ask().trial == 2  # left running


def test_a_trial_that_goes_on_survives_its_driver(tmp_path):
    kept = record(tmp_path)
    first = paused(kept, 4)
    kept.resume(0)
    reopened = record(tmp_path)
    assert reopened.rows == [] and reopened.finished == set()
    again = reopened.ask()
    assert (again.trial, again.values) == (0, first.values)
    reopened.tell(0, [row(again)])
    assert [each["status"] for each in record(tmp_path).rows] == ["complete"]


def test_of_a_trial_that_went_on_models_see_what_came_of_it(tmp_path):
    kept = record(tmp_path)
    for _ in range(3):
        proposal = kept.ask()
        kept.tell(proposal.trial, [row(proposal)])
    paused(kept, 4)
    seen = window(kept._study)
    assert [FIDELITY in trial.constraints for trial in seen] == [False, False, False, True]
    again = kept.resume(3)
    assert [trial.state for trial in window(kept._study)][3:] == [TrialState.RUNNING]
    kept.tell(3, [row(again)])
    seen = window(kept._study)
    assert len(seen) == 4 and not any(FIDELITY in trial.constraints for trial in seen)

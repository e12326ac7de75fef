"""Failed trials run again when they are asked to, under their numbers; what would fail again does not."""

import pytest
from optuna.trial import TrialState
from records import GRID, record, row, trials

from imer_ray.tuning.study.failures import may_succeed, statement

DIED = "stage pretrain[l] failed 3 times, last: WorkerCrashedError: the worker died"
NAN = "stage recognise failed: NonFiniteError: the validation loss became nan in epoch 1"


def failing(searched, errors):
    """Run as many trials; an error of None is a success. Returns trial -> proposal."""
    proposals = {}
    for error in errors:
        proposal = searched.ask()
        searched.tell(proposal.trial, [{**row(proposal), "error": error}])
        proposals[proposal.trial] = proposal
    return proposals


def names(searched):
    return sorted((found["trial"], found["point"], found["status"]) for found in searched.results)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_failed_trials_run_again_under_their_numbers_and_have_one_row(tmp_path, sampler):
    before = failing(record(tmp_path, sampler), [None, DIED, None, DIED])
    searched = record(tmp_path, sampler)
    proposed_by = {row["trial"]: row["proposed_by"] for row in searched.rows}
    assert searched.retry_failed() == 2 and searched.finished == {0, 2}
    again = [searched.ask(), searched.ask()]
    assert {p.trial: p.config for p in again} == {n: before[n].config for n in (1, 3)}
    searched.tell(again[0].trial, [row(again[0]), row(again[0], point=1, steps=65)])
    searched.tell(again[1].trial, [{**row(again[1]), "error": DIED}])
    complete = [(0, 0), (1, 0), (1, 1), (2, 0)]
    assert names(searched) == [*((*name, "complete") for name in complete), (3, 0, "failed")]
    assert {row["trial"]: row["proposed_by"] for row in searched.rows} == proposed_by
    states = [(t.user_attrs["trial"], t.state) for t in trials(tmp_path) if "trial" in t.user_attrs]
    assert states.count((1, TrialState.FAIL)) == states.count((1, TrialState.COMPLETE)) == 1, "the sampler is told"
    assert states.count((3, TrialState.FAIL)) == 2 and searched.ask().trial == 4
    assert names(record(tmp_path, sampler)) == names(searched), "as it is read from the journal"
    assert record(tmp_path, sampler).retry_failed() == 1, "what failed again can be run again"


@pytest.mark.parametrize("killed", ["before", "running", "between"])
def test_a_driver_killed_while_failed_trials_run_again_leaves_them_to_the_next(tmp_path, killed):
    before = failing(record(tmp_path), [None, DIED, DIED])
    searched = record(tmp_path)
    assert searched.retry_failed() == 2
    if killed != "before":
        first = searched.ask()
    if killed == "between":
        searched.tell(first.trial, [row(first)])
    searched = record(tmp_path)
    assert len({(found["trial"], found["point"]) for found in searched.results}) == len(searched.results)
    left = {"before": {1, 2}, "running": {1, 2}, "between": {2}}[killed]
    assert searched.finished == {0, 1, 2} - left
    proposals = [searched.ask() for _ in left]
    assert {p.trial: p.config for p in proposals} == {n: before[n].config for n in left}
    for proposal in proposals:
        searched.tell(proposal.trial, [row(proposal)])
    assert names(record(tmp_path)) == [(n, 0, "complete") for n in range(3)]
    assert searched.ask().trial == 3


def test_failed_trials_of_an_exhausted_space_run_again(tmp_path):
    searched = record(tmp_path, space=GRID)
    failing(searched, [DIED, None, None, DIED, None, None])
    assert searched.ask() is None and searched.num_configurations == 6
    searched = record(tmp_path, space=GRID)
    assert searched.retry_failed() == 2
    for proposal in [searched.ask(), searched.ask()]:
        searched.tell(proposal.trial, [row(proposal)])
    assert searched.ask() is None and names(searched) == [(n, 0, "complete") for n in range(6)]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (DIED, True),
        ("the trial's process died or was stopped", True),
        ("stage encode failed: OSError: [Errno 28] No space left on device", True),
        ("stage evaluate failed: ZeroDivisionError: a bug", True),
        ("stage cost was not computed", True),  # as trials of earlier versions named the wrong cause
        (NAN, False),
        ("stage encode failed: NonFiniteError: 3 of 64 predictions are not finite", False),
        ("valid.Non0_F1_score is nan", False),
        ("speedup_vs_imder is inf", False),
        ("speedup_vs_imder was not measured", False),
        ("latency_ms_b1, which study.constraints bounds, is not measured", False),
    ],
)
def test_what_the_same_configuration_would_fail_of_again_does_not_run_again(tmp_path, error, again):
    assert may_succeed({"error": error}) == again
    searched = record(tmp_path)
    failing(searched, [error])
    assert searched.retry_failed() == again


def test_it_is_said_how_many_failed_why_and_what_can_be_done():
    def rows(*errors):
        return [{"trial": n, "point": 0, "status": "failed", "error": error} for n, error in enumerate(errors)]

    complete = [{"trial": 9, "point": 0, "status": "complete", "error": None}]
    assert statement(complete, 1) == ""
    said = f"2 of 5 trials failed; trial 0: {DIED}; study.retry_failed=true runs them again"
    assert statement(rows(DIED, DIED) + complete, 5) == said
    assert "; study.retry_failed=true runs 1 of them again, of the others " in statement(rows(NAN, DIED), 5)
    assert statement(rows(NAN), 5).endswith("so that study.retry_failed=true runs none of them again")
    assert len(statement(rows("a\nb" + "c" * 999, "d" * 999), 5)) < 300 and "\n" not in statement(rows("a\nb"), 5)

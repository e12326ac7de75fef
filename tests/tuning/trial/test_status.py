"""How a trial stands: what it is compared by, what is left of it when it is stopped, and that it then asks no more."""

import json
import threading
import time
from types import SimpleNamespace

import pytest

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.run import StageResult
from imer_ray.systems import decoupled, imder, masked, rohydr
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.trial import status
from imer_ray.tuning.trial.coordinator import run_points
from imer_ray.tuning.trial.local_search import Grid
from imer_ray.tuning.trial.status import STANDING, TrialStatus, compared


def stage(name, key="", **inputs):
    return Stage(name=name, function=f"toy:{name}", config={"key": key}, data="toy", inputs=inputs)


ENCODE = stage("encode")
PRETRAIN = [stage(f"pretrain[{m}]", m, encode=ENCODE) for m in "lav"]
RECOGNISE = stage("recognise", encode=ENCODE)


def at(epoch, *rungs, num_epochs=10, **changes):
    return Status(state="running", epoch=epoch, num_epochs=num_epochs, metrics=dict(rungs), **changes)


def told(standing):
    with standing.telling() as report:
        return json.loads(report[STANDING])


def test_what_stages_are_compared_by_goes_under_their_kind():
    given = [
        (ENCODE, {"epochs": 3.0}),
        (RECOGNISE, {"rung.task_loss.9": 0.25, "rung.task_loss.3": 0.5, "valid_loss": 0.1}),
    ]
    assert compared(given) == {"recognise": {3: 0.5, 9: 0.25}}


@pytest.mark.parametrize(
    ("system", "kinds"),
    [(decoupled, ["recognise"]), (imder, ["joint"]), (rohydr, ["classify"]), (masked, ["recognise"])],
)
def test_a_system_has_one_stage_of_each_kind_that_is_compared(base, system, kinds):
    """Two of a kind would overwrite each other."""
    stages = [s.kind for s in system.graph(typed(base, ExperimentConfig), "valid").in_order()]
    assert [stages.count(kind) for kind in kinds] == [1] * len(kinds)


def test_a_trial_is_alone_with_a_stage_that_runs_and_that_nobody_else_waits_for():
    loss = ("rung.task_loss.3", 0.5)
    for seen, alone in ((at(3, loss), ["recognise"]), (at(3, loss, shared=True), [])):
        standing = TrialStatus([ENCODE, RECOGNISE])
        standing.saw(RECOGNISE, seen)
        assert told(standing)["compared"] == {"recognise": {"3": 0.5}}
        assert told(standing)["alone"] == alone
    standing = TrialStatus([ENCODE, RECOGNISE])
    standing.ended(RECOGNISE, StageResult(key="", name="", seconds=1.0, reused=True, metrics=dict([loss])))
    assert told(standing) | {"row": None} == {
        **{"compared": {"recognise": {"3": 0.5}}, "alone": []},
        **{"cost": {}, "row": None},
    }


def test_what_is_left_of_a_trial():
    """Two stages are done, one of them reused; two are at 3 and 5 of 10 epochs, the second shared; one waits."""
    cost = stage("cost", encode=ENCODE)
    standing = TrialStatus([ENCODE, PRETRAIN[0], PRETRAIN[1], RECOGNISE, cost])
    metrics = {"epochs": 30.0}
    standing.ended(ENCODE, StageResult(key="", name="encode", seconds=6.0, reused=True, metrics=metrics))
    standing.ended(cost, StageResult(key="", name="cost", seconds=0.5, reused=False, metrics={"nfe": 4.0}))
    standing.saw(PRETRAIN[0], at(3, seconds=2.0))
    standing.saw(PRETRAIN[1], at(5, seconds=4.0, shared=True))
    standing.saw(RECOGNISE, Status(state="waiting"))
    report = told(standing)
    row = report["row"]
    assert report["cost"] == {"nfe": 4.0}
    assert row["epochs"] == 30 + 3 + 5
    assert row["fidelity"] == pytest.approx((1 + 1 + 0.3 + 0.5 + 0) / 5)
    assert (row["seconds_computed"], row["seconds_reused"]) == (0.5 + 2.0, 6.0)
    assert json.loads(row["stages"])["recognise"] == RECOGNISE.key
    assert row["rungs"] is None


def test_only_news_at_a_rung_is_news():
    standing = TrialStatus([RECOGNISE])
    standing.saw(RECOGNISE, at(2))
    assert not standing.news.done()
    standing.saw(RECOGNISE, at(3, ("rung.task_loss.3", 0.5)))
    assert standing.news.done()
    told(standing)
    assert not standing.news.done()
    standing.saw(RECOGNISE, at(4, ("rung.task_loss.3", 0.5)))
    assert not standing.news.done()


def test_while_a_report_is_under_way_stages_are_not_asked_for_again():
    standing = TrialStatus([RECOGNISE])
    with standing.telling():
        asking = threading.Thread(target=standing.saw, args=(RECOGNISE, at(3)))
        asking.start()
        asking.join(0.2)
        assert asking.is_alive()
    asking.join(60)
    assert not asking.is_alive()


NUM_STAGES = 4  # of a trained system


class Client:
    """Its stages run for ever, and reach a rung at once."""

    def __init__(self):
        self.asked, self.left = [], []

    def compute(self, stage, waiter, on_progress=None):
        while True:
            self.asked.append(time.monotonic())
            on_progress(at(3, ("rung.task_loss.3", 0.5)))
            time.sleep(0.01)

    def leave(self, waiter):
        self.left.append((waiter, time.monotonic()))


def test_a_trial_that_tune_ends_in_a_report_leaves_and_asks_no_more(base, monkeypatch):
    """Tune ends a function by SystemExit in the report that it did not return from, some time later."""
    client, reports, held_up = Client(), [], set()

    class Event(threading.Event):
        """Knows who waits for it because it was not set."""

        def wait(self, timeout=None):
            if not self.is_set():
                held_up.add(threading.get_ident())
                super().wait(timeout)

    def report(metrics):
        reports.append(metrics)
        while len(held_up) < NUM_STAGES:
            time.sleep(0.01)
        reports.append(len(client.asked))
        time.sleep(0.3)
        raise SystemExit(0)

    monkeypatch.setattr(status, "threading", SimpleNamespace(Lock=threading.Lock, Event=Event))

    wanted = objectives(quality="Non0_F1_score", speed="latency")
    grid = Grid(axes={}, components={}, objectives=wanted)
    with pytest.raises(SystemExit):
        run_points(base, grid, client, "toy-0", report, systems="trained_systems", rungs=(3,))
    assert json.loads(reports[0][STANDING])["compared"]["recognise"] == {"3": 0.5}
    assert len(client.asked) == reports[1]  # nothing was asked for since
    ((waiter, moment),) = client.left
    assert waiter == "toy-0" and moment > client.asked[-1]
    time.sleep(0.1)
    assert len(client.asked) == reports[1]

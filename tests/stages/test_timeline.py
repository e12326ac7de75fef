"""A broker's notes: each run once, with where, when, for whom and how it ended; whoever follows hears all, once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_stages import toy

from imer_ray.errors import NonFiniteError, StageStopped
from imer_ray.stages.broker import Broker, WorkerDied
from imer_ray.stages.run import execute
from imer_ray.stages.store import Store
from imer_ray.stages.timeline import Timeline, Where

HERE = Where(host="spot-7", node="abc")


def broker_of(folder, outcomes=()):
    """A broker whose stages run here; ``outcomes`` are raised, in order, by the first launches."""
    store, left = Store(folder / "stages"), list(outcomes)

    async def launch(stage):
        broker.progress(stage.key, 0, 0, {}, HERE)
        await asyncio.sleep(0.01)
        broker.progress(stage.key, 1, 2, {"loss": 0.5}, HERE)
        if left and (error := left.pop(0)) is not None:
            raise error
        return await asyncio.to_thread(execute, stage, store)

    broker = Broker(store, launch, max_failures=1)
    return broker


async def ask(broker, stage, waiter):
    while (status := (await broker.wait([stage], waiter, 0.05))[stage.key]).state in ("waiting", "running"):
        pass
    return status


def asked(broker, stage, *waiters):
    async def run():
        return [await ask(broker, stage, waiter) for waiter in waiters]

    return asyncio.run(run())


def pair(folder):
    return toy("b", x=10, log=str(folder / "log"), inputs={"a": toy("a[0]", x=1, log=str(folder / "log"))})


def test_a_computed_stage_is_one_run_with_all_who_got_it(tmp_path):
    broker = broker_of(tmp_path)
    first, _ = asked(broker, pair(tmp_path), "demo-0", "demo-3")
    a, b = broker.timeline.since("", 0).runs
    assert [(r.stage, r.kind, r.status, r.host, r.node) for r in (a, b)] == [
        ("a[0]", "a", "computed", "spot-7", "abc"),
        ("b", "b", "computed", "spot-7", "abc"),
    ]
    assert b.waiters == ["demo-0", "demo-3"] and a.waiters == []  # nobody asked for the input by itself
    assert b.seconds == first.seconds
    assert a.started < a.finished <= b.started < b.finished  # an input is there before its user begins
    assert (b.epoch, b.num_epochs) == (1, 2)


def test_what_lay_in_the_store_was_found_and_cost_nothing_now(tmp_path):
    asked(broker_of(tmp_path), pair(tmp_path), "demo-0")
    later = broker_of(tmp_path)
    (status,) = asked(later, pair(tmp_path), "demo-1")
    (run,) = later.timeline.since("", 0).runs
    assert (run.stage, run.status, run.waiters, run.host) == ("b", "found", ["demo-1"], "")
    assert run.seconds == status.seconds > 0 and run.finished == run.started


def test_a_lost_run_and_the_one_that_replaced_it_are_two(tmp_path):
    broker = broker_of(tmp_path, [None, WorkerDied("killed")])  # of b, whose input comes first
    asked(broker, pair(tmp_path), "demo-0")
    _, lost, again = broker.timeline.since("", 0).runs
    assert (lost.stage, lost.status, again.stage, again.status) == ("b", "lost", "b", "computed")
    assert lost.run != again.run and lost.finished <= again.started
    assert 0 < lost.seconds == lost.finished - lost.started


@pytest.mark.parametrize(
    ("error", "status"), [(NonFiniteError("nan"), "failed"), (StageStopped("unwanted"), "stopped")]
)
def test_how_a_run_ended(tmp_path, error, status):
    broker = broker_of(tmp_path, [error])
    stage = toy("a", x=1, log=str(tmp_path / "log"))

    async def run():
        await broker.wait([stage], "demo-0", 0.0)
        broker.leave("demo-0") if status == "stopped" else None
        await broker._jobs[stage.key].task

    asyncio.run(run())
    (found,) = broker.timeline.since("", 0).runs
    assert (found.status, found.epoch) == (status, 1) and found.seconds > 0


def test_a_stage_whose_input_failed_never_ran(tmp_path):
    broker = broker_of(tmp_path, [NonFiniteError("nan")])
    asked(broker, pair(tmp_path), "demo-0")
    assert [(run.stage, run.status) for run in broker.timeline.since("", 0).runs] == [("a[0]", "failed")]


NOTES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["epoch", "computed", "found", "used", "ask"])))


@settings(max_examples=100, deadline=None)
@given(notes=NOTES)
def test_whoever_follows_knows_what_one_who_asks_once_is_told(notes):
    stages = {name: toy(name, x=ord(name), log="") for name in "abc"}
    timeline, known, reports, broker, revision = Timeline(), {}, [], "", 0

    def follow():
        nonlocal broker, revision
        changes = timeline.since(broker, revision)
        broker, revision = changes.broker, changes.revision
        known.update({run.run: dict(vars(run), waiters=list(run.waiters)) for run in changes.runs})
        reports.extend(changes.reports)

    for number, (name, what) in enumerate(notes):
        stage = stages[name]
        match what:
            case "epoch":
                timeline.reported(stage, number + 1, 99, {"loss": 1.0}, HERE, [f"w{number % 3}"])
            case "computed":
                timeline.ended(stage, "computed", 1.0)
            case "found":
                timeline.found(stage, 1.0)
            case "used":
                timeline.used(stage.key, f"w{number % 3}")
            case "ask":
                follow()
    follow()
    everything = Timeline.since(timeline, "another broker", revision)
    assert known == {run.run: vars(run) for run in everything.runs}
    assert reports == everything.reports
    assert timeline.since(broker, revision).runs == timeline.since(broker, revision).reports == []

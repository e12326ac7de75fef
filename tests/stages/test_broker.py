import asyncio
import multiprocessing
import random
import types
from pathlib import Path

import pytest
from broker_world import World, diamond, held, until
from toy_stages import notes, toy

from imer_ray.errors import NonFiniteError, UserError
from imer_ray.stages import broker as broker_module
from imer_ray.stages import job as job_module
from imer_ray.stages.broker import StageFailed, WorkerDied
from imer_ray.stages.run import execute
from imer_ray.stages.store import Store


def test_each_stage_runs_once_whoever_asks_and_one_waiter_pays(tmp_path):
    world = World(tmp_path)
    stages = list(diamond(world.log).in_order())

    async def trial(number):
        order = random.Random(number).sample(stages, k=len(stages))
        return [await world.ask(stage, f"trial-{number}") for stage in order]

    async def run():
        return await asyncio.gather(*(trial(number) for number in range(8)))

    answers = [status for trial in asyncio.run(run()) for status in trial]
    assert sorted(world.launched) == ["a[0]", "b[100]", "b[10]", "d"]
    assert len(notes(world.log)) == 4
    assert sum(not status.reused for status in answers) == 4
    stats = world.broker.stats()["stages"]
    assert {kind: (s["computed"], s["reused"]) for kind, s in stats.items()} == {"a": (1, 7), "b": (2, 14), "d": (1, 7)}
    assert stats["a"]["computed_seconds"] >= 0.05
    assert stats["a"]["reused_seconds"] == pytest.approx(7 * stats["a"]["computed_seconds"])


def test_inputs_are_computed_without_being_asked_for(tmp_path):
    world = World(tmp_path)
    status = asyncio.run(world.ask(diamond(world.log)))
    assert status.metrics == {"value": 1112}
    assert len(notes(world.log)) == 4


def test_a_new_broker_takes_everything_from_the_store(tmp_path):
    asyncio.run(World(tmp_path).ask(diamond(str(tmp_path / "log"))))
    world = World(tmp_path)
    status = asyncio.run(world.ask(diamond(world.log)))
    assert (status.reused, status.metrics, world.launched) == (True, {"value": 1112}, [])


def test_progress_reaches_the_waiters(tmp_path):
    world, gate = World(tmp_path), tmp_path / "gate"
    stage = held(world.log, gate)

    async def run():
        task = asyncio.create_task(world.ask(stage))
        seen = []
        while not task.done():
            seen.append((await world.broker.wait([stage], "watcher", 0.05))[stage.key])
            if seen[-1].epoch == 10:
                gate.touch()
        return seen

    seen = [status for status in asyncio.run(run()) if status.state == "running"]
    epochs = [status.epoch for status in seen]
    assert epochs == sorted(epochs)
    assert 10 <= max(epochs) <= 30
    assert all(status.metrics["total"] == status.epoch * (status.epoch + 1) / 2 for status in seen if status.epoch)


def test_a_rung_reaches_the_waiters_at_once_and_other_progress_does_not(tmp_path):
    world = World(tmp_path)
    stage = held(world.log, tmp_path / "gate")

    async def run():
        await world.broker.wait([stage], "one", 0.05)
        loop, waited = asyncio.get_running_loop(), []
        for metrics, timeout in (({}, 0.5), ({"rung.task_loss.3": 0.5}, 120.0)):
            begun = loop.time()
            loop.call_later(0.02, world.broker.progress, stage.key, 3, 1000, metrics)
            await world.broker.wait([stage], "one", timeout)
            waited.append(loop.time() - begun)
        world.broker.leave("one")
        await world.state(stage, "stopped")
        return waited

    other, rung = asyncio.run(run())
    assert 0.5 <= other and rung < 120


def test_a_waiter_is_told_whether_others_wait_too(tmp_path, monkeypatch):
    now = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    for module in (broker_module, job_module):
        monkeypatch.setattr(module, "time", clock)
    world = World(tmp_path, lease_seconds=10.0)
    stage = held(world.log, tmp_path / "gate")

    async def shared(waiter):
        return (await world.broker.wait([stage], waiter, 0.01))[stage.key].shared

    async def run():
        found = [await shared("one"), await shared("one"), await shared("two"), await shared("one")]
        world.broker.leave("two")
        found += [await shared("one"), await shared("two")]
        now[0] = 11.0  # "one" and "two" have vanished
        found.append(await shared("three"))
        world.broker.leave("three")
        return found

    assert asyncio.run(run()) == [False, False, True, True, False, True, False]


def test_a_stage_nobody_waits_for_stops_and_goes_on_when_asked_again(tmp_path):
    world, gate = World(tmp_path), tmp_path / "gate"
    stage = held(world.log, gate)

    async def run():
        await world.broker.wait([stage], "one", 0.1)
        await world.broker.wait([stage], "two", 0.1)
        await until(lambda: notes(world.log))
        world.broker.leave("one")
        await asyncio.sleep(0.1)
        assert world.broker.stats()["running"][0]["name"] == "count"  # "two" still wants it
        world.broker.leave("two")
        await world.state(stage, "stopped")
        assert 0 < len(notes(world.log)) < 30
        gate.touch()
        return await world.ask(stage, "three")

    assert asyncio.run(run()).metrics == {"total": 465}
    assert [int(line.split()[0]) for line in notes(world.log)] == list(range(1, 31))
    assert world.broker.stats()["stages"]["count"]["stopped"] == 1


def test_a_waiter_that_vanished_no_longer_counts(tmp_path):
    world = World(tmp_path, lease_seconds=0.1)
    stage = held(world.log, tmp_path / "gate")

    async def run():
        await world.broker.wait([stage], "one", 0.05)
        await world.state(stage, "stopped")

    asyncio.run(run())


def test_an_input_is_wanted_as_long_as_its_user_is(tmp_path):
    world = World(tmp_path)
    count = toy("count", "count", num_epochs=10, sleep=0.02, log=world.log)
    needs_total = toy("above", "fail", error="bug", log=world.log + "2", inputs={"count": count})

    async def run():
        await world.broker.wait([needs_total], "one", 0.1)
        await world.broker.wait([count], "two", 0.01)
        world.broker.leave("two")
        with pytest.raises(StageFailed, match="ZeroDivisionError: as expected"):
            await world.ask(needs_total, "one")

    asyncio.run(run())
    assert world.launched == ["count", "above"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [("user", UserError), ("nan", NonFiniteError), ("bug", StageFailed)],
    ids=["user", "nan", "bug"],
)
def test_a_failure_is_told_to_all_and_remembered(tmp_path, error, raised):
    world = World(tmp_path)
    stage = toy("above", x=1, inputs={"in": toy("fail", "fail", error=error, log=world.log)})

    async def run():
        tasks = [world.ask(stage, f"w{number}") for number in range(5)] + [world.ask(stage.inputs["in"], "direct")]
        return await asyncio.gather(*tasks, return_exceptions=True) + [
            await asyncio.gather(world.ask(stage, "late"), return_exceptions=True)
        ]

    *errors, (late,) = asyncio.run(run())
    assert all(type(e) is raised and "as expected" in str(e) for e in [*errors, late])
    assert world.launched == ["fail"]


def _child(stage, root):
    execute(stage, Store(root))


class ProcessWorld(World):
    """Each stage runs in a process of its own."""

    async def launch(self, stage):
        self.launched.append(stage.name)
        process = multiprocessing.get_context("spawn").Process(target=_child, args=(stage, self.store.root))
        process.start()
        await asyncio.to_thread(process.join)
        if process.exitcode != 0:
            raise WorkerDied(f"exit code {process.exitcode}")
        manifest = self.store.open(stage.key).manifest
        from imer_ray.stages.run import found

        return found(stage, manifest)


def test_a_killed_worker_is_replaced_and_loses_no_finished_epoch(tmp_path):
    world = ProcessWorld(tmp_path)
    stage = toy("count", "count", num_epochs=6, die_at=4, log=world.log)
    assert asyncio.run(world.ask(stage)).metrics == {"total": 21}
    assert [int(line.split()[0]) for line in notes(world.log)] == list(range(1, 7))
    assert len({line.split()[1] for line in notes(world.log)}) == 2
    assert world.broker.stats()["stages"]["count"]["retried"] == 1


def test_a_worker_that_always_dies_is_given_up(tmp_path):
    world = World(tmp_path, max_failures=2)

    async def launch(stage):
        world.launched.append(stage.name)
        raise WorkerDied("killed")

    world.broker._launch = launch
    with pytest.raises(StageFailed, match="stage a failed 3 times, last: killed"):
        asyncio.run(world.ask(toy("a", x=1)))
    assert world.launched == ["a"] * 3


def test_a_worker_that_dies_again_and_again_counts_only_if_it_gets_no_further(tmp_path):
    """As on spot nodes: a death every third epoch, of a stage that may die once."""
    world, deaths = World(tmp_path, max_failures=1), []
    stage = toy("count", "count", num_epochs=20, log=world.log)

    async def dying(stage):
        def report(epoch, num_epochs, metrics):
            asyncio.run_coroutine_threadsafe(world._progress(stage.key, epoch, num_epochs, metrics), loop).result()
            if epoch % 3 == 0 and epoch not in deaths:
                deaths.append(epoch)
                raise WorkerDied("the node was taken away")
            return True

        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(execute, stage, world.store, report)

    world.broker._launch = dying
    assert asyncio.run(world.ask(stage)).metrics == {"total": 210}
    assert deaths == [3, 6, 9, 12, 15, 18]
    assert [int(line.split()[0]) for line in notes(world.log)] == list(range(1, 21))


def test_an_input_damaged_since_is_built_anew(tmp_path):
    world = World(tmp_path)
    below = toy("below", x=1, log=world.log)

    async def run():
        await world.ask(below)
        (Path(world.store.root) / below.key / "value.txt").write_text("7")
        return await world.ask(toy("above", x=2, log=world.log, inputs={"b": below}))

    assert asyncio.run(run()).metrics == {"value": 3}
    assert len(notes(world.log)) == 3
    assert "is damaged" in world.broker.stats()["damaged"][0]


def test_a_stage_is_in_the_background_as_long_as_no_trial_nor_other_stage_wants_it(tmp_path):
    async def story():
        world, gate = World(tmp_path), tmp_path / "gate"
        first = toy("a", x=1, log=world.log, gate=str(gate))
        final = toy("b", x=1, log=world.log, inputs={"a": first})
        await world.broker.wait([first], "zero", 0.01, background=True)
        alone = world.broker.is_background(first.key)
        await world.broker.wait([final], "zero", 0.01, background=True)
        await until(lambda: not world.broker.is_background(first.key))  # the other needs it
        await world.broker.wait([final], "trial-0", 0.01)
        assert (alone, world.broker.is_background(final.key)) == (True, False)
        gate.touch()
        await world.ask(final)

    asyncio.run(story())

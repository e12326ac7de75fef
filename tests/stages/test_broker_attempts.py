"""What a broker tries again: stages whose workers died, and stores that failed."""

import asyncio
import multiprocessing

import pytest
from broker_world import World, diamond
from pyarrow import fs
from toy_stages import notes, toy
from worlds import Refusing

from imer_ray.errors import UserError
from imer_ray.stages import patience
from imer_ray.stages.broker import Broker, StageFailed, WorkerDied
from imer_ray.stages.run import execute
from imer_ray.stages.store import Store


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


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A broker of a store that can be made to refuse, and what its filesystem is."""
    for name in ("FIRST_SECONDS", "MOST_SECONDS"):
        monkeypatch.setattr(patience, name, 0.01)
    root = Refusing(tmp_path)
    (tmp_path / "bucket").mkdir()

    def made(**settings):
        world = World(tmp_path, **settings)
        world.store = Store("bucket", fs.PyFileSystem(root), tmp_path / "cache")
        world.broker = Broker(world.store, world.launch, **settings)
        return world

    return made, root


def test_a_store_that_refuses_for_a_while_fails_no_stage(far):
    made, root = far
    world, said = made(max_failures=0, store_seconds=600.0), set()

    async def run():
        asked = asyncio.create_task(world.ask(diamond(world.log)))
        while not asked.done():
            said.update(one["why"] for one in world.broker.stats()["waiting"])
            await asyncio.sleep(0.001)
        return await asked

    root.num_refused = 25
    assert asyncio.run(run()).metrics == {"value": 1112}
    assert any("waits up to 600 s for its store" in why and "NETWORK_CONNECTION" in why for why in said)
    assert len(notes(world.log)) == 4


def test_a_store_that_fails_in_mid_stage_costs_an_epoch(far):
    made, root = far
    world = made(max_failures=0, store_seconds=600.0)
    progress = world._progress

    async def failing(key, epoch, *more):
        if epoch in (2, 5) and not root.num_refused:
            root.num_refused = 10 if len(notes(world.log)) in (2, 6) else 0
        return await progress(key, epoch, *more)

    world._progress = failing
    assert asyncio.run(world.ask(toy("count", "count", num_epochs=8, log=world.log))).metrics == {"total": 36}
    assert len(notes(world.log)) <= 10


def test_a_store_that_never_answers_ends_the_search_and_says_so(far):
    made, root = far
    world = made(max_failures=0, store_seconds=0.2)
    root.num_refused = 10**9
    with pytest.raises(UserError, match="failed for 0.2 s.*NETWORK_CONNECTION.*scaling.store_seconds"):
        asyncio.run(world.ask(toy("a", x=1, log=world.log)))

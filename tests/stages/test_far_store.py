"""A store that refuses for a while, in mid-stage, or for ever: the stages of a broker wait for it."""

import asyncio

import pytest
from broker_world import World, diamond
from pyarrow import fs
from toy_stages import notes, toy
from worlds import Refusing

from imer_ray.errors import UserError
from imer_ray.stages import patience
from imer_ray.stages.broker import Broker
from imer_ray.stages.store import Store


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

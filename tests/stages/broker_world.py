"""A broker without Ray, for its tests."""

import asyncio

from toy_stages import toy

from imer_ray.stages.broker import Broker
from imer_ray.stages.run import execute
from imer_ray.stages.store import Store


class World:
    """A broker whose stages run in threads of this process."""

    def __init__(self, folder, **settings):
        self.log = str(folder / "log")
        self.store = Store(folder / "stages")
        self.launched = []
        self.broker = Broker(self.store, self.launch, **settings)

    async def launch(self, stage):
        self.launched.append(stage.name)
        self.broker.progress(stage.key, 0, 0, {})

        def report(*progress):
            return asyncio.run_coroutine_threadsafe(self._progress(stage.key, *progress), loop).result()

        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(execute, stage, self.store, report)

    async def _progress(self, *progress):
        return self.broker.progress(*progress)

    async def ask(self, stage, waiter="w", poll=0.05):
        while True:
            status = (await self.broker.wait([stage], waiter, poll))[stage.key]
            if status.error is not None:
                raise status.error
            if status.state == "done":
                return status

    async def state(self, stage, state):
        """Wait, asking for nothing, until a stage is in a state."""
        await until(lambda: self.broker._jobs[stage.key].status.state == state)


async def until(condition):
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.01)


def held(log, gate, **config):
    """Counts to 10 and then goes on reporting until ``gate`` exists."""
    return toy("count", "count", num_epochs=30, hold_at=10, gate=str(gate), log=log, **config)


def diamond(log, **changes):
    a = toy("a[0]", x=1, log=log, sleep=0.05)
    b, c = (toy(f"b[{x}]", x=x, log=log, inputs={"a": a}) for x in (10, 100))
    return toy("d", x=1000, log=log, inputs={"b": b, "c": c}, **changes)

"""Requests that wait go together, a lone one waits for nothing, and none is lost with a worker that dies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from imer_ray.serving.batcher import MAX_BATCH_BYTES, MAX_DEATHS, Batcher, Full, Gone
from imer_ray.serving.metrics import Metrics


class Worker:
    """Answers a body with itself when it is let; remembers its batches. A body that begins with ``kill`` kills it."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.open = asyncio.Event()
        self.deaths = 0  # still to come, whatever the batch

    async def __call__(self, bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
        self.batches.append(list(bodies))
        await self.open.wait()
        if self.deaths or any(body.startswith(b"kill") for body in bodies):
            self.deaths = max(0, self.deaths - 1)
            raise Gone
        return [(200, body) for body in bodies]


def batcher(worker: Worker, slots: int = 1, max_batch: int = 4, max_waiting: int = 100) -> Batcher:
    return Batcher(worker, slots=slots, max_batch=max_batch, max_waiting=max_waiting, metrics=Metrics())


def bodies(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def ask(asked: Batcher, contents: Sequence[bytes], worker: Worker) -> list[tuple[int, bytes]]:
    """All at once, of a worker that is let when all have been asked."""
    tasks = [asyncio.create_task(asked.answer(content)) for content in contents]
    while not worker.batches:
        await asyncio.sleep(0)
    worker.open.set()
    return await asyncio.gather(*tasks)


def test_what_comes_together_goes_together_in_order_and_each_gets_its_own_answer() -> None:
    async def main() -> None:
        worker = Worker()
        answers = await ask(batcher(worker), bodies(10), worker)
        assert [content for _, content in answers] == bodies(10)
        assert [len(batch) for batch in worker.batches] == [4, 4, 2]
        assert sum(worker.batches, []) == bodies(10)

    asyncio.run(main())


def test_a_lone_request_is_sent_before_any_time_passes() -> None:
    async def main() -> None:
        worker = Worker()
        task = asyncio.create_task(batcher(worker).answer(b"0"))
        for _ in range(4):  # turns of the loop, none of which waits
            await asyncio.sleep(0)
        assert worker.batches == [[b"0"]]
        worker.open.set()
        assert await task == (200, b"0")

    asyncio.run(main())


def test_no_more_batches_than_slots_are_under_way() -> None:
    async def main() -> None:
        worker, begun = Worker(), []
        asked = batcher(worker, slots=2, max_batch=1)
        tasks = [asyncio.create_task(asked.answer(body)) for body in bodies(5)]
        for _ in range(20):
            await asyncio.sleep(0)
            begun.append(len(worker.batches))
        assert max(begun) == 2
        worker.open.set()
        await asyncio.gather(*tasks)
        assert len(worker.batches) == 5

    asyncio.run(main())


def test_large_bodies_do_not_share_a_batch() -> None:
    async def main() -> None:
        worker = Worker()
        large = b"x" * (MAX_BATCH_BYTES // 2 + 1)
        await ask(batcher(worker), [b"0", large, large, b"1"], worker)
        assert [len(batch) for batch in worker.batches] == [2, 2]

    asyncio.run(main())


def test_requests_whose_worker_died_are_asked_again_each_alone() -> None:
    async def main() -> None:
        worker = Worker()
        worker.deaths = 1
        answers = await ask(batcher(worker), bodies(6), worker)
        assert [content for _, content in answers] == bodies(6)
        assert [len(batch) for batch in worker.batches] == [4, 1, 1, 1, 1, 2]

    asyncio.run(main())


def test_a_request_that_kills_whoever_works_on_it_is_given_up_and_the_others_are_answered() -> None:
    async def main() -> None:
        worker = Worker()
        answers = await ask(batcher(worker), [b"0", b"kill", b"1"], worker)
        assert [status for status, _ in answers] == [200, 500, 200]
        assert sum(b"kill" in batch for batch in worker.batches) == MAX_DEATHS

    asyncio.run(main())


def test_more_than_may_wait_are_turned_away_and_the_places_come_free_again() -> None:
    async def main() -> None:
        worker = Worker()
        asked = batcher(worker, max_waiting=2)
        tasks = [asyncio.create_task(asked.answer(body)) for body in bodies(2)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await asked.answer(b"2")
        worker.open.set()
        await asyncio.gather(*tasks)
        assert await asked.answer(b"3") == (200, b"3")

    asyncio.run(main())


def test_who_no_longer_waits_is_not_worked_on() -> None:
    async def main() -> None:
        worker = Worker()
        asked = batcher(worker, max_batch=1)
        tasks = [asyncio.create_task(asked.answer(body)) for body in bodies(3)]
        while not worker.batches:
            await asyncio.sleep(0)
        tasks[1].cancel()
        worker.open.set()
        assert await tasks[2] == (200, b"2")
        assert worker.batches == [[b"0"], [b"2"]]

    asyncio.run(main())


def test_an_error_that_is_no_death_reaches_who_asked() -> None:
    async def fails(bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
        raise ValueError("a fault")

    async def main() -> None:
        asked = Batcher(fails, slots=1, max_batch=4, max_waiting=4, metrics=Metrics())
        with pytest.raises(ValueError, match="a fault"):
            await asked.answer(b"0")

    asyncio.run(main())

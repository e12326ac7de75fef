"""Requests that wait together are sent together, and again if whoever worked on them dies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from imer_ray.serving.answer import Answer, refusal
from imer_ray.serving.metrics import Metrics

Call = Callable[[Sequence[bytes]], Awaitable[list[Answer]]]

MAX_BATCH_BYTES = 2**20  # of several bodies; a larger one is a batch of its own
MAX_WAITING_BYTES = 2**28
MAX_DEATHS = 3  # of workers with the same request, after which it is taken for the reason


class Gone(Exception):
    """Who worked on a batch is gone, and its answers with it."""


class Full(Exception):
    """More requests wait than may."""


@dataclass(eq=False)
class _Waiter:
    body: bytes
    answer: asyncio.Future[Answer]
    deaths: int = 0


class Batcher:
    """Sends what waits as soon as one of ``slots`` batches is free: no timer, so that a lone request waits for nothing,
    and the more come in while the slots are taken, the larger the batches.

    Args:
        call: answers a batch; raises `Gone` if it may be asked again.
        max_batch: requests.
        max_waiting: requests that may wait, beside those that are worked on.
    """

    def __init__(self, call: Call, *, slots: int, max_batch: int, max_waiting: int, metrics: Metrics) -> None:
        self._call, self._slots, self._max_batch, self._max_waiting = call, slots, max_batch, max_waiting
        self._metrics = metrics
        self._waiting: deque[_Waiter] = deque()
        self._waiting_bytes = 0
        self._running: set[asyncio.Task[None]] = set()

    async def answer(self, body: bytes) -> Answer:
        """The answer to one request.

        Raises:
            Full: too many wait already.
        """
        if len(self._waiting) >= self._max_waiting or self._waiting_bytes + len(body) > MAX_WAITING_BYTES:
            raise Full
        loop = asyncio.get_running_loop()
        waiter = _Waiter(body, loop.create_future())
        self._waiting.append(waiter)
        self._waiting_bytes += len(body)
        loop.call_soon(self._send)  # after whatever else has arrived by now
        try:
            return await waiter.answer
        finally:
            self._waiting_bytes -= len(body)

    def _send(self) -> None:
        while len(self._running) < self._slots and (batch := self._take()):
            task = asyncio.create_task(self._ask(batch))
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._send()

    def _take(self) -> list[_Waiter]:
        """The next batch. Who was in one whose worker died comes alone, so that it takes no others with it again."""
        batch: list[_Waiter] = []
        size = 0
        while self._waiting and len(batch) < self._max_batch:
            waiter = self._waiting[0]
            size += len(waiter.body)
            if batch and (waiter.deaths or size > MAX_BATCH_BYTES):
                break
            self._waiting.popleft()
            if waiter.answer.done():  # nobody waits for it any more
                continue
            batch.append(waiter)
            if waiter.deaths:
                break
        return batch

    async def _ask(self, batch: list[_Waiter]) -> None:
        self._metrics.batch_size.observe(len(batch))
        try:
            answers = await self._call([waiter.body for waiter in batch])
            for waiter, answer in zip(batch, answers, strict=True):
                _answer(waiter, answer)
        except Gone:
            self._retry(batch)
        except Exception as error:
            for waiter in batch:
                if not waiter.answer.done():
                    waiter.answer.set_exception(error)

    def _retry(self, batch: list[_Waiter]) -> None:
        for waiter in reversed(batch):
            waiter.deaths += 1
            if waiter.deaths < MAX_DEATHS:
                self._metrics.retries.inc()
                self._waiting.appendleft(waiter)
            else:
                _answer(waiter, refusal(500, f"{MAX_DEATHS} processes died while they worked on this request"))


def _answer(waiter: _Waiter, answer: Answer) -> None:
    if not waiter.answer.done():
        waiter.answer.set_result(answer)

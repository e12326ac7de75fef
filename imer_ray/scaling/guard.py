"""The driver looks after the broker, which is on its node: one that answers nothing is ended, and Ray restarts it."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from imer_ray.stages.pulse import Process, period


class Guard:
    """All waits for the broker's answers have no deadline of their own but this one.

    Args:
        actor: the broker; ``here()`` says which process it is.
        silence_seconds: without an answer, of the driver's own running time, after which it is ended.
    """

    def __init__(self, actor: ActorHandle, silence_seconds: float) -> None:
        self._actor, self._silence_seconds = actor, silence_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with contextlib.suppress(RayError):  # without Ray there is nothing to guard
            self._guard()

    def _guard(self) -> None:
        process: Process | None = None
        tick, silent, answer = period(self._silence_seconds), 0.0, self._ask()
        while not self._over.wait(tick) and ray.is_initialized():
            silent += tick
            if answer.done():
                process = process if answer.exception() else answer.result()
                silent, answer = 0.0, self._ask()
            elif process is not None and silent > self._silence_seconds:
                process.kill()
                process, silent = None, 0.0

    def _ask(self) -> Future[Process]:
        answer: Future[Process] = self._actor.here.remote().future()
        return answer

"""A thread of a process that works on a stage, which tells the broker that it lives and whether it computes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from imer_ray.stages.pulse import Process, period


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a stage, to whose broker signs of life are sent.

    Attributes:
        name: as `imer_ray.stages.broker.Broker.run_of` says.
        silence_seconds: after which the stage is given up.
    """

    broker: ActorHandle
    key: str
    name: str
    silence_seconds: float

    @contextlib.contextmanager
    def beating(self, computes: bool) -> Iterator[None]:
        """Give signs of life as long as the block runs.

        Args:
            computes: whether this thread is the one that computes, and not one that looks after others that do.
        """
        over = threading.Event()
        clock = time.pthread_getcpuclockid(threading.get_ident()) if computes else None
        thread = threading.Thread(target=self._beat, args=(over, clock), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()  # it waits for nothing but the event

    def _beat(self, over: threading.Event, clock: int | None) -> None:
        process, worked, used = Process.here(ray.get_runtime_context().get_node_id()), None, 0.0
        while True:
            if clock is not None:
                before, used = used, time.clock_gettime(clock)
                worked = used > before
            with contextlib.suppress(RayError):  # the broker is gone, and whoever follows it knows nothing of this run
                self.broker.beat.remote(self.key, self.name, process, worked)
            if over.wait(period(self.silence_seconds)):
                return

"""A client of the broker for work that may end before its stages are there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from imer_ray.stages.client import Client
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.run import StageResult
from imer_ray.stages.timeline import Changes


class Abandoned(Exception):
    """The work has ended, and nobody waits for this stage any more."""


class Until:
    """A client that gives up whatever it waits for, by `Abandoned`, once ``ended`` is set."""

    def __init__(self, client: Client, ended: threading.Event) -> None:
        self._client, self._ended = client, ended

    def compute(
        self,
        stage: Stage,
        waiter: str,
        on_progress: Callable[[Status], None] | None = None,
        *,
        background: bool = False,
    ) -> StageResult:
        def check(status: Status) -> None:
            if self._ended.is_set():
                raise Abandoned
            if on_progress is not None:
                on_progress(status)

        return self._client.compute(stage, waiter, check, background=background)

    def leave(self, waiter: str) -> None:
        self._client.leave(waiter)

    def stats(self) -> dict[str, Any]:
        return self._client.stats()

    def changes(self, broker: str, revision: int) -> Changes:
        return self._client.changes(broker, revision)

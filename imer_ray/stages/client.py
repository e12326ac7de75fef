"""Whoever computes stages, as those who ask for them see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.run import StageResult
from imer_ray.stages.timeline import Changes


class Client(Protocol):
    """Whoever computes stages; see `imer_ray.scaling.handle.BrokerHandle`."""

    def compute(
        self,
        stage: Stage,
        waiter: str,
        on_progress: Callable[[Status], None] | None = None,
        *,
        background: bool = False,
    ) -> StageResult: ...
    def leave(self, waiter: str) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def changes(self, broker: str, revision: int) -> Changes: ...

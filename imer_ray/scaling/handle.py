"""The handle through which trials and commands ask the broker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError

from imer_ray.scaling.batch import Batch
from imer_ray.scaling.guard import Guard
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.run import StageResult
from imer_ray.stages.timeline import Changes

POLL_SECONDS = 1.0
END_SECONDS = 5.0  # that a broker gets to end its lease


class BrokerHandle:
    """What a trial or a command holds to ask for stages. It can be sent to other processes."""

    def __init__(self, actor: ActorHandle, guard: Guard | None = None) -> None:
        self._actor = actor
        self._guard = guard  # the driver's own handle has it
        self._open: dict[tuple[str, bool], Batch] = {}  # (waiter, background) -> what it asks for at this moment
        self._joining = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return BrokerHandle, (self._actor,)

    def compute(
        self,
        stage: Stage,
        waiter: str,
        on_progress: Callable[[Status], None] | None = None,
        *,
        background: bool = False,
    ) -> StageResult:
        """Wait, holding no hardware, until a stage is there; ``on_progress`` is called about once a second meanwhile.

        Args:
            background: whether it is wanted for what no trial does, and may run where it keeps no trial waiting.

        Raises:
            UserError, NonFiniteError, StageFailed: the stage failed, for everybody who asks.
        """
        batch, seen = self._join(stage, waiter, background), 0
        try:
            while True:
                seen, status = batch.next(stage.key, seen, POLL_SECONDS)
                if status.error is not None:
                    raise status.error
                if status.state == "done":
                    return StageResult(
                        key=stage.key,
                        name=stage.name,
                        seconds=status.seconds,
                        reused=status.reused,
                        metrics=status.metrics,
                        num_workers=status.num_workers,
                        hardware=status.hardware,
                    )
                if on_progress is not None:
                    on_progress(status)
        finally:
            batch.drop(stage.key)

    def looked_at(self, nodes: Collection[str], unfit: Collection[str]) -> None:
        """Tell of which nodes it is known whether they have what stages need, and which of them have not."""
        self._actor.looked_at.remote(sorted(nodes), sorted(unfit))

    def _join(self, stage: Stage, waiter: str, background: bool) -> Batch:
        def ask(asked: Sequence[Stage | str]) -> dict[str, Status]:
            answers: ObjectRef[dict[str, Status]] = self._actor.wait.remote(asked, waiter, POLL_SECONDS, background)
            return ray.get(answers)

        with self._joining:
            batch = self._open.get((waiter, background))
            if batch is None or not batch.is_open:
                self._open = {who: other for who, other in self._open.items() if other.is_open}
                batch = self._open[waiter, background] = Batch(ask)
            batch.join(stage)
            return batch

    def ask_ahead(self, stages: Sequence[Stage], waiter: str) -> None:
        """Have stages begun that the waiter is going to ask for. Does not wait for them, nor for the broker."""
        self._actor.wait.remote(stages, waiter, 0.0)

    def leave(self, waiter: str) -> None:
        """Tell the broker that the waiter wants nothing any more. Does not wait for it."""
        self._actor.leave.remote(waiter)

    def stop(self) -> None:
        """End the broker, and with it whatever stages it still runs; their checkpoints stay."""
        if self._guard is not None:
            self._guard.stop()
        with contextlib.suppress(RayError, OSError):  # a lease that is not ended is not renewed either
            ray.get(self._actor.stop.remote(), timeout=END_SECONDS)
        ray.kill(self._actor)

    def stats(self) -> dict[str, Any]:
        answer: ObjectRef[dict[str, Any]] = self._actor.stats.remote()
        return ray.get(answer)

    def changes(self, broker: str, revision: int) -> Changes:
        """What the broker ran since the last time; see `imer_ray.stages.timeline.Timeline.since`."""
        answer: ObjectRef[Changes] = self._actor.changes.remote(broker, revision)
        return ray.get(answer)

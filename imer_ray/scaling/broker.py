"""The broker as a Ray actor, and the handle through which trials ask it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from imer_ray.scaling import inline, ray_train
from imer_ray.stages.broker import Broker, Status, WorkerDied
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import StageResult
from imer_ray.stages.store import Store
from imer_ray.stages.timeline import Changes, Where

POLL_SECONDS = 1.0


class BrokerActor:
    """A `Broker` that launches stages as Ray tasks or Ray Train worker groups."""

    def __init__(self, store_root: str, scaling: Mapping[str, Any]) -> None:
        self._store_root = store_root
        self._scaling = dict(scaling)
        self._broker = Broker(Store(store_root), self._launch, max_failures=scaling["max_failures"])
        self._starting: set[str] = set()  # groups that wait for all their workers
        self._no_group_starts = asyncio.Event()
        self._no_group_starts.set()

    async def wait(self, stage: Stage, waiter: str, timeout: float) -> Status:
        return await self._broker.wait(stage, waiter, timeout)

    async def leave(self, waiter: str) -> None:
        self._broker.leave(waiter)

    async def progress(self, key: str, epoch: int, num_epochs: int, metrics: Mapping[str, float], where: Where) -> bool:
        self._group_started(key)
        return self._broker.progress(key, epoch, num_epochs, metrics, where)

    async def stats(self) -> dict[str, Any]:
        return self._broker.stats()

    async def changes(self, broker: str, revision: int) -> Changes:
        return self._broker.timeline.since(broker, revision)

    async def _launch(self, stage: Stage) -> StageResult:
        in_group = self._scaling["num_workers"] > 0 and stage.kind in self._scaling["train_stages"]
        if in_group:
            # Small tasks would take each CPU that gets free, and the group would never have all of its at once.
            self._starting.add(stage.key)
            self._no_group_starts.clear()
        else:
            await self._no_group_starts.wait()
        submit = ray_train.submit if in_group else inline.submit
        broker = ray.get_runtime_context().current_actor
        try:
            result: StageResult = await submit(stage, self._store_root, self._scaling, broker)
            return result
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise WorkerDied(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
        finally:
            self._group_started(stage.key)

    def _group_started(self, key: str) -> None:
        self._starting.discard(key)
        if not self._starting:
            self._no_group_starts.set()


class BrokerHandle:
    """What a trial or a command holds to ask for stages. It can be sent to other processes."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor

    def compute(self, stage: Stage, waiter: str, on_progress: Callable[[Status], None] | None = None) -> StageResult:
        """Wait, holding no hardware, until a stage is there; ``on_progress`` is called about once a second meanwhile.

        Raises:
            UserError, NonFiniteError, StageFailed: the stage failed, for everybody who asks.
        """
        while True:
            answer: ObjectRef[Status] = self._actor.wait.remote(stage, waiter, POLL_SECONDS)
            status = ray.get(answer)
            if status.error is not None:
                raise status.error
            if status.state == "done":
                return StageResult(
                    key=stage.key,
                    name=stage.name,
                    seconds=status.seconds,
                    reused=status.reused,
                    metrics=status.metrics,
                )
            if on_progress is not None:
                on_progress(status)

    def leave(self, waiter: str) -> None:
        """Tell the broker that the waiter wants nothing any more. Does not wait for it."""
        self._actor.leave.remote(waiter)

    def stop(self) -> None:
        """End the broker, and with it whatever stages it still runs; their checkpoints stay."""
        ray.kill(self._actor)

    def stats(self) -> dict[str, Any]:
        answer: ObjectRef[dict[str, Any]] = self._actor.stats.remote()
        return ray.get(answer)

    def changes(self, broker: str, revision: int) -> Changes:
        """What the broker ran since the last time; see `imer_ray.stages.timeline.Timeline.since`."""
        answer: ObjectRef[Changes] = self._actor.changes.remote(broker, revision)
        return ray.get(answer)


def start_broker(store_root: str, scaling: Mapping[str, Any]) -> BrokerHandle:
    """Start this driver's broker. It is restarted if its process dies; what it knew is in the store."""
    root = store_root if "://" in store_root else os.path.abspath(store_root)
    actor: Any = (
        ray.remote(BrokerActor)
        .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=1000)
        .remote(root, dict(scaling))
    )
    return BrokerHandle(actor)

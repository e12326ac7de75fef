"""The broker as a Ray actor, and the handle through which trials ask it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from imer_ray.scaling import inline, ray_train
from imer_ray.scaling.batch import Batch
from imer_ray.scaling.guard import Guard
from imer_ray.scaling.hardware import Hardware
from imer_ray.scaling.heart import Run
from imer_ray.stages.broker import Broker
from imer_ray.stages.claim import Claims
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.lease import Lease
from imer_ray.stages.pulse import Process, WorkerDied
from imer_ray.stages.run import StageResult
from imer_ray.stages.store import Store
from imer_ray.stages.timeline import Changes, Where

POLL_SECONDS = 1.0
END_SECONDS = 5.0
HOLD_SECONDS = 300.0  # that a group may hold small stages up: its CPUs get free by then, or nodes are missing
CARRIED = ("IMER_RAY_PLUGINS",)  # of the driver's environment: all that a broker starts, on whatever node, has it, too
MAX_CALLS = 10_000  # at a time: every waiter's question is one, and none may keep a worker's report from being heard


class BrokerActor:
    """A `Broker` that launches stages as Ray tasks or Ray Train worker groups, and keeps up its driver's lease."""

    def __init__(self, store_root: str, scaling: Hardware, lease: Lease) -> None:
        self._store_root = store_root
        self._scaling = scaling
        self._lease, store = lease, Store(store_root)
        self._folders = store.folders
        lease.keep(self._folders)
        self._broker = Broker(
            store,
            self._launch,
            max_failures=scaling.max_failures,
            store_seconds=scaling.store_seconds,
            silence_seconds=scaling.silence_seconds,
            end=end,
            needs=self._needs,
            claims=Claims(self._folders, lease),
        )
        self._starting: set[str] = set()  # groups that wait for all their workers
        self._no_group_starts = asyncio.Event()
        self._no_group_starts.set()

    async def wait(
        self, asked: Sequence[Stage | str], waiter: str, timeout: float, background: bool = False
    ) -> dict[str, Status]:
        return await self._broker.wait(asked, waiter, timeout, background)

    async def leave(self, waiter: str) -> None:
        self._broker.leave(waiter)

    async def beat(self, key: str, run: str, process: Process, worked: bool | None) -> None:
        self._broker.beat(key, run, process, worked)

    async def begin(self, key: str, where: Where) -> bool:
        self._group_started(key)
        return await self._broker.begin(key, where)

    async def progress(self, key: str, epoch: int, num_epochs: int, metrics: Mapping[str, float], where: Where) -> bool:
        return self._broker.progress(key, epoch, num_epochs, metrics, where)

    async def group_starts(self, key: str) -> None:
        """Called when the worker group of a stage is about to ask for its CPUs.

        Small tasks would take each one that gets free, and the group would never have all of them at once.
        """
        self._starting.add(key)
        self._no_group_starts.clear()
        asyncio.get_running_loop().call_later(HOLD_SECONDS, self._group_started, key)

    async def here(self) -> Process:
        return Process.here()

    async def stop(self) -> None:
        await self._broker.settled()
        await asyncio.to_thread(self._lease.end, self._folders)

    async def stats(self) -> dict[str, Any]:
        return self._broker.stats()

    async def changes(self, broker: str, revision: int) -> Changes:
        return self._broker.timeline.since(broker, revision)

    async def _launch(self, stage: Stage) -> StageResult:
        in_group = self._in_group(stage)
        if not in_group:
            await self._no_group_starts.wait()
        submit = ray_train.submit if in_group else inline.submit
        broker = ray.get_runtime_context().current_actor
        run = Run(
            broker=broker,
            key=stage.key,
            name=self._broker.run_of(stage.key),
            silence_seconds=self._scaling.silence_seconds,
        )
        try:
            result: StageResult = await submit(stage, self._store_root, self._scaling, run)
            return result
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise WorkerDied(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
        finally:
            self._group_started(stage.key)

    def _in_group(self, stage: Stage) -> bool:
        """A starting group holds all small stages up, which is too much for what no trial needs."""
        chosen = self._scaling.num_workers > 0 and stage.kind in self._scaling.train_stages
        return chosen and not self._broker.is_background(stage.key)

    def _needs(self, stage: Stage) -> str:
        counts = ((self._scaling.cpus_per_stage, "CPU"), (self._scaling.gpus_per_stage, "GPU"))
        each = " and ".join(f"{count:g} {name}{'s' * (count > 1)}" for count, name in counts if count)
        return f"{self._scaling.num_workers} workers with {each} each" if self._in_group(stage) else each

    def _group_started(self, key: str) -> None:
        self._starting.discard(key)
        if not self._starting:
            self._no_group_starts.set()


async def end(processes: Collection[Process]) -> None:
    """End processes on whatever nodes they are. What cannot be reached in time is left to Ray."""
    here = ray.get_runtime_context().get_node_id()
    tasks: list[ObjectRef[None]] = []
    for process in processes:
        if process.node == here:
            process.kill()
            continue
        there = NodeAffinitySchedulingStrategy(process.node, soft=False)
        kill = ray.remote(num_cpus=0, max_retries=0)(Process.kill).options(scheduling_strategy=there)
        tasks.append(kill.remote(process))
    if tasks:
        await asyncio.wait([asyncio.ensure_future(task) for task in tasks], timeout=END_SECONDS)


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
                    )
                if on_progress is not None:
                    on_progress(status)
        finally:
            batch.drop(stage.key)

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


def _carried() -> dict[str, str]:
    return {name: os.environ[name] for name in CARRIED if name in os.environ}


def start_broker(store_root: str, scaling: Hardware) -> BrokerHandle:
    """Start this driver's broker. It is restarted if its process dies; what it knew is in the store.

    It lives on the driver's node: trials everywhere depend on it, and other nodes may be taken away. There is no other
    choice, because without that node there would be no driver either.
    """
    root = store_root if "://" in store_root else os.path.abspath(store_root)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = (
        ray.remote(BrokerActor)
        .options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=MAX_CALLS,
            scheduling_strategy=here,
            **({"runtime_env": {"env_vars": carried}} if (carried := _carried()) else {}),
        )
        .remote(root, scaling, Lease())
    )
    return BrokerHandle(actor, Guard(actor, scaling.silence_seconds))

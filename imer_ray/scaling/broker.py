"""The broker as a Ray actor."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from imer_ray.errors import NonFiniteError, StageStopped, StoreFailed, UserError
from imer_ray.scaling import inline, ray_train
from imer_ray.scaling.capacity import Nodes, group_size, present_nodes, room
from imer_ray.scaling.growth import Growth
from imer_ray.scaling.guard import Guard
from imer_ray.scaling.handle import BrokerHandle
from imer_ray.scaling.hardware import AUTO, Hardware, group_bounds
from imer_ray.scaling.heart import Run
from imer_ray.scaling.newcomers import LOOK_SECONDS
from imer_ray.scaling.nodes import ANSWER_SECONDS, others
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.broker import Broker, StageFailed
from imer_ray.stages.claim import Claims
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Begin, Status
from imer_ray.stages.lease import Lease
from imer_ray.stages.pulse import Process, WorkerDied
from imer_ray.stages.run import StageResult
from imer_ray.stages.store import Store
from imer_ray.stages.timeline import Changes, Where

END_SECONDS = 5.0
HOLD_SECONDS = 300.0  # that a group may hold small stages up: its CPUs get free by then, or nodes are missing
CARRIED = ("IMER_RAY_PLUGINS",)  # of the driver's environment: all that a broker starts, on whatever node, has it, too
TOLD = (UserError, NonFiniteError, StageStopped, MissingArtefact, StoreFailed, OSError, StageFailed, WorkerDied)
"""What a stage's process says of the stage; all else says that the process itself could not be."""
NODE_LABEL = "ray.io/node-id"  # Ray gives it to every node
LOOKED_AT_SECONDS = ANSWER_SECONDS + 2 * LOOK_SECONDS
MAX_CALLS = 10_000  # at a time: every waiter's question is one, and none may keep a worker's report from being heard


class BrokerActor:
    """A `Broker` that launches stages as Ray tasks or Ray Train worker groups, and keeps up its driver's lease."""

    def __init__(
        self, store_root: str, scaling: Hardware, lease: Lease, nodes: Callable[[], Nodes] = present_nodes
    ) -> None:
        self._store_root = store_root
        self._scaling = scaling
        self._nodes = nodes
        self._growth: dict[str, Growth] = {}  # of the stages that may run in groups, since they began
        self._grown: set[str] = set()  # that were stopped to go on with more workers
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
        self._looked_at: set[str] = set()  # nodes; none: nobody looks
        self._unfit: set[str] = set()  # of them those that lack what stages need
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

    async def begin(self, key: str, where: Where) -> Begin:
        self._group_started(key)
        if key in self._growth:
            self._growth[key].begin()
        return await self._broker.begin(key, where)

    async def progress(self, key: str, epoch: int, num_epochs: int, metrics: Mapping[str, float], where: Where) -> bool:
        wanted = self._broker.progress(key, epoch, num_epochs, metrics, where)
        growth = self._growth.get(key)
        is_training = "loss" in metrics  # which workers can share; what else reports how far it is cannot
        if wanted and growth is not None and is_training and growth.pays(epoch, num_epochs, self._possible_size):
            self._grown.add(key)
            return False
        return wanted

    async def group_starts(self, key: str) -> None:
        """Called when the worker group of a stage is about to ask for its CPUs.

        Small tasks would take each one that gets free, and the group would never have all of them at once.
        """
        self._starting.add(key)
        self._no_group_starts.clear()
        asyncio.get_running_loop().call_later(HOLD_SECONDS, self._group_started, key)

    async def looked_at(self, nodes: Collection[str], unfit: Collection[str]) -> None:
        """Called now and then with all nodes of which it is known whether they have what stages need."""
        self._looked_at, self._unfit = set(nodes), set(unfit)

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
        size = self._size(stage)
        if size < 2:
            await self._no_group_starts.wait()
        if self._may_be_grouped(stage):
            self._growth[stage.key] = Growth(size)
        self._broker.runs_with(stage.key, size)
        broker = ray.get_runtime_context().current_actor
        run = Run(
            broker=broker,
            key=stage.key,
            name=self._broker.run_of(stage.key),
            silence_seconds=self._scaling.silence_seconds,
        )
        try:
            if size < 2:
                result: StageResult = await inline.submit(stage, self._store_root, self._scaling, run, self._places())
            else:
                holds = size <= room(self._scaling, self._nodes())
                places = self._places()
                result = await ray_train.submit(stage, self._store_root, self._scaling, run, size, places, holds=holds)
            return result
        except RayTaskError as error:
            if isinstance(error.cause, TOLD):
                raise error.cause from None
            await self._all_looked_at()  # it would go there again
            raise WorkerDied(f"{type(error.cause).__name__}: {error.cause}") from error
        except RayError as error:
            raise WorkerDied(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
        finally:
            self._growth.pop(stage.key, None)
            self._group_started(stage.key)

    def _places(self) -> dict[str, str]:
        """The selector of labels that keeps a stage off nodes that lack what it needs."""
        return {NODE_LABEL: f"!in({','.join(sorted(self._unfit))})"} if self._unfit else {}

    async def _all_looked_at(self) -> None:
        """Wait until it is known of all nodes whether they have what stages need, unless nobody looks."""
        end = time.monotonic() + LOOKED_AT_SECONDS
        while self._looked_at and time.monotonic() < end:
            if not {node["NodeID"] for node in others()} - self._looked_at:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _may_be_grouped(self, stage: Stage) -> bool:
        """A starting group holds all small stages up, which is too much for what no trial needs."""
        named = self._scaling.train_stages
        chosen = stage.kind in named or AUTO in named
        return chosen and group_bounds(self._scaling.num_workers)[1] > 0 and not self._broker.is_background(stage.key)

    def _size(self, stage: Stage) -> int:
        """With how many workers a stage begins, or goes on; 1: as a task."""
        is_chosen = stage.kind in self._scaling.train_stages or stage.key in self._grown
        return self._group_size() if is_chosen and self._may_be_grouped(stage) else 1

    def _group_size(self) -> int:
        return group_size(self._scaling, self._nodes())

    def _possible_size(self) -> int:
        size = self._group_size()
        return size if size <= room(self._scaling, self._nodes()) else 1

    def _needs(self, stage: Stage) -> str:
        counts = ((self._scaling.cpus_per_stage, "CPU"), (self._scaling.gpus_per_stage, "GPU"))
        each = " and ".join(f"{count:g} {name}{'s' * (count > 1)}" for count, name in counts if count)
        size = self._size(stage)
        return f"{size} workers with {each} each" if size > 1 else each

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

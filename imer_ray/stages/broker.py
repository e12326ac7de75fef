"""Each stage once, whoever asks: waiters share it, a dead worker is replaced, an unwanted stage stops and is kept.

Plain asyncio, no Ray: how a stage is launched is given from outside, and so is where its progress comes from.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from imer_ray.errors import NonFiniteError, StageStopped, UserError
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Job, Status
from imer_ray.stages.run import StageResult, found
from imer_ray.stages.store import Store
from imer_ray.stages.timeline import Timeline, Where
from imer_ray.training import rungs

Launch = Callable[[Stage], Awaitable[StageResult]]
_COUNTED = ("computed", "reused", "stopped", "retried", "failed")
_TIMED = ("computed_seconds", "reused_seconds")
ANSWERS_PER_SECOND = 50.0  # to waiters for whom there is no news
NOWHERE = Where(host="")  # a stage that runs in the broker's own process


class WorkerDied(Exception):
    """The process that ran a stage died before it finished; the stage's checkpoint is where it was."""


class StageFailed(RuntimeError):
    """A stage could not be computed, for a reason that is neither the user's nor a loss that became NaN."""


class Broker:
    """Runs missing stages once each and tells all waiters.

    Args:
        store: where finished stages lie.
        launch: runs one stage whose inputs are in the store. Raises WorkerDied if its process died, StageStopped if it
            was told to stop, and otherwise whatever the stage's function raised.
        max_failures: how often a stage is tried again after its worker died or its file system failed.
        lease_seconds: how long a waiter that no longer asks still counts.
    """

    def __init__(self, store: Store, launch: Launch, *, max_failures: int = 2, lease_seconds: float = 30.0) -> None:
        self._store = store
        self._launch = launch
        self._max_failures = max_failures
        self._lease_seconds = lease_seconds
        self._jobs: dict[str, Job] = {}
        self._num_waiting = 0
        self.timeline = Timeline()
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTED, 0))
        self._seconds: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_TIMED, 0.0))

    async def wait(self, asked: Sequence[Stage | str], waiter: str, timeout: float) -> dict[str, Status]:
        """Ask for stages and wait up to ``timeout`` seconds until one ends or reaches its next rung.

        Asking again renews the waiter's leases. Among hundreds of waiters the timeout is longer, so that there are no
        more than `ANSWERS_PER_SECOND` without news.

        Args:
            asked: stages, or the keys of stages that were asked for before.
            waiter: who asks.
            timeout: seconds; see `imer_ray.training.rungs` for what ends the wait earlier.

        Returns:
            key -> status, without the keys that a broker that was restarted does not know.
        """
        found = [self._jobs.get(one) if isinstance(one, str) else self._job(one) for one in asked]
        jobs = [job for job in found if job is not None]
        timeout = max(timeout, self._num_waiting / ANSWERS_PER_SECOND)
        for job in jobs:
            job.leases[waiter] = time.monotonic() + timeout + self._lease_seconds
            self._start(job)
        if any(job.task is not None and job.task.done() for job in jobs):
            await asyncio.sleep(0)  # who asks again and again for what has ended lets others run as well
        elif jobs:
            await self._news(jobs, timeout)
        return {job.stage.key: self._tell(job, waiter) for job in jobs}

    async def _news(self, jobs: Sequence[Job], timeout: float) -> None:
        """One event for all jobs, since adding and removing it costs the same however many wait for a job."""
        event = asyncio.Event()
        self._num_waiting += 1
        for job in jobs:
            job.events.add(event)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._num_waiting -= 1
            for job in jobs:
                job.events.discard(event)

    def leave(self, waiter: str) -> None:
        """The waiter wants nothing any more; stages that only it wanted stop at their next epoch."""
        for job in self._jobs.values():
            job.leases.pop(waiter, None)

    def progress(
        self, key: str, epoch: int, num_epochs: int, metrics: Mapping[str, float], where: Where = NOWHERE
    ) -> bool:
        """Called by a running stage, with epoch 0 when it begins; False asks it to stop."""
        job = self._jobs.get(key)
        if job is None:  # the broker was restarted, and the stage is not asked for again yet
            return True
        if job.started is None:
            job.started = time.monotonic()
        if job.status.state in ("waiting", "running"):
            if rungs.count(metrics) > rungs.count(job.status.metrics):
                job.tell()
            job.status = Status(state="running", epoch=epoch, num_epochs=num_epochs, metrics=dict(metrics))
            self.timeline.reported(job.stage, epoch, num_epochs, metrics, where, job.leases)
        return job.is_wanted()

    def is_beside(self, key: str) -> bool:
        """Whether only waiters beside the search (`imer_ray.stages.job.BESIDE`) want a stage."""
        return self._jobs[key].is_beside()

    def stats(self) -> dict[str, Any]:
        """What was done so far.

        ``stages``: per kind of stage how many were computed, reused (each pair of waiter and stage once), stopped,
        retried and failed, with ``computed_seconds`` (stopped and lost runs too) and ``reused_seconds``;
        ``running``: name, key, epoch, num_epochs and, so far, seconds of each running stage; ``damaged``: artefacts put
        aside, in words.
        """
        now = time.monotonic()
        running = [
            {
                "name": job.stage.name,
                "key": key,
                "epoch": job.status.epoch,
                "num_epochs": job.status.num_epochs,
                "seconds": now - (job.started or now),
            }
            for key, job in self._jobs.items()
            if job.status.state == "running"
        ]
        kinds = sorted(self._counts.keys() | self._seconds.keys())
        stages = {kind: {**self._counts[kind], **self._seconds[kind]} for kind in kinds}
        return {"stages": stages, "running": running, "damaged": list(self._store.put_aside)}

    def _job(self, stage: Stage) -> Job:
        return self._jobs.setdefault(stage.key, Job(stage))

    def _start(self, job: Job) -> None:
        if job.task is None or (job.task.done() and job.status.state == "stopped"):
            job.status, job.started = Status(state="waiting"), None
            job.task = asyncio.create_task(self._compute(job))
            job.task.add_done_callback(lambda _: job.tell())

    async def _compute(self, job: Job) -> None:
        """Find or compute a stage; never raises, the outcome is ``job.status``."""
        failures, kind = 0, job.stage.kind
        while True:
            try:
                job.status, job.started = Status(state="waiting"), None
                manifest = await asyncio.to_thread(self._store.find, job.stage.key)
                if manifest is not None:
                    result = found(job.stage, manifest)
                    self.timeline.found(job.stage, result.seconds)
                else:
                    await self._compute_inputs(job)
                    result = await self._launch(job.stage)
                    job.paid = False
                    self._count(kind, "computed", result.seconds)
                    self.timeline.ended(job.stage, "computed", result.seconds)
                job.status = Status(state="done", metrics=result.metrics, seconds=result.seconds)
                return
            except (WorkerDied, MissingArtefact, OSError) as error:
                failures += 1
                self._count_lost(job, "lost")
                if failures > self._max_failures:
                    self._fail(job, StageFailed(f"stage {job.stage.name} failed {failures} times, last: {error}"))
                    return
                self._counts[kind]["retried"] += 1
            except StageStopped:
                self._count_lost(job, "stopped")
            except Exception as error:
                self._count_lost(job, "failed")
                self._fail(job, error)
                return
            if not job.is_wanted():
                self._counts[kind]["stopped"] += 1
                job.status = Status(state="stopped", epoch=job.status.epoch, num_epochs=job.status.num_epochs)
                return

    async def _compute_inputs(self, job: Job) -> None:
        """Have all inputs in the store. Those done before are looked up again: they may be damaged since."""
        inputs = [self._job(source) for source in job.stage.inputs.values()]
        for source in inputs:
            if source.status.state == "done" and await asyncio.to_thread(self._store.find, source.stage.key) is None:
                source.task = None
        try:
            for source in inputs:
                source.users.add(job)
                self._start(source)
            await asyncio.gather(*(asyncio.shield(source.task) for source in inputs if source.task is not None))
        finally:
            for source in inputs:
                source.users.discard(job)
        for source in inputs:
            if source.status.error is not None:
                raise source.status.error
            if source.status.state == "stopped":
                raise StageStopped(f"{source.stage.name} was stopped")

    def _tell(self, job: Job, waiter: str) -> Status:
        if job.status.state != "done":
            return replace(job.status, seconds=job.elapsed(), shared=job.is_shared(waiter))
        reused, job.paid = job.paid, True
        job.leases.pop(waiter, None)
        if reused and waiter not in job.told:
            self._count(job.stage.kind, "reused", job.status.seconds)
        self.timeline.used(job.stage.key, waiter)
        job.told.add(waiter)
        return Status(state="done", metrics=job.status.metrics, seconds=job.status.seconds, reused=reused)

    def _fail(self, job: Job, error: Exception) -> None:
        """Remembered as long as the broker lives: the same stage would fail in the same way again."""
        known = isinstance(error, (UserError, NonFiniteError, StageFailed))
        told = error if known else StageFailed(f"stage {job.stage.name} failed: {type(error).__name__}: {error}")
        self._counts[job.stage.kind]["failed"] += 1
        job.status = Status(state="failed", error=told)

    def _count(self, kind: str, what: str, seconds: float) -> None:
        self._counts[kind][what] += 1
        self._seconds[kind][f"{what}_seconds"] += seconds

    def _count_lost(self, job: Job, how: str) -> None:
        self.timeline.ended(job.stage, how)
        if job.started is not None:
            self._seconds[job.stage.kind]["computed_seconds"] += job.elapsed()

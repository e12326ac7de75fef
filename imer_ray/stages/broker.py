"""Each stage once, whoever asks: waiters share it, a dead worker is replaced, an unwanted stage stops and is kept.

Plain asyncio, no Ray: how a stage is launched is given from outside, and so is where its progress comes from.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from imer_ray.errors import NonFiniteError, StageStopped, StoreFailed, UserError
from imer_ray.stages import rungs
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.claim import Claims
from imer_ray.stages.counts import Counts
from imer_ray.stages.elsewhere import Elsewhere
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Begin, Job, Status, WaiterLease, news
from imer_ray.stages.patience import Patience
from imer_ray.stages.pulse import End, Process, Pulse, WorkerDied, end_here, watched
from imer_ray.stages.run import StageResult, found
from imer_ray.stages.store import Store
from imer_ray.stages.threads import in_thread
from imer_ray.stages.timeline import Timeline, Where

Launch = Callable[[Stage], Awaitable[StageResult]]
ANSWERS_PER_SECOND = 50.0  # to waiters for whom there is no news
NOWHERE = Where(host="")  # a stage that runs in the broker's own process


class StageFailed(RuntimeError):
    """A stage could not be computed, for a reason that is neither the user's nor a loss that became NaN."""


class Broker:
    """Runs missing stages once each and tells all waiters.

    Args:
        store: where finished stages lie.
        launch: runs one stage whose inputs are in the store. Raises WorkerDied if its process died, StageStopped if it
            was told to stop, and otherwise whatever the stage's function raised.
        max_failures: how often a stage is tried again after its worker or a disk failed, since it last got further.
        store_seconds: how long it is waited for a store that fails.
        lease_seconds: how long a waiter that no longer asks still counts.
        silence_seconds: how long the processes of a stage may give no sign of life.
        end: ends such processes.
        needs: what a stage runs on, in words.
        claims: keeps off the stages that other drivers compute in the same store; None: there are no others.
    """

    def __init__(
        self,
        store: Store,
        launch: Launch,
        *,
        max_failures: int = 2,
        store_seconds: float = math.inf,
        lease_seconds: float = 30.0,
        silence_seconds: float = math.inf,
        end: End = end_here,
        needs: Callable[[Stage], str] = lambda stage: "hardware",
        claims: Claims | None = None,
    ) -> None:
        self._store = store
        self._launch = launch
        self._silence_seconds, self._end, self._needs = silence_seconds, end, needs
        self._elsewhere = Elsewhere(store, claims)
        self._max_failures, self._store_seconds = max_failures, store_seconds
        self._lease_seconds = lease_seconds
        self._jobs: dict[str, Job] = {}
        self._num_waiting = 0
        self.timeline = Timeline()
        self._counts = Counts()

    async def wait(
        self, asked: Sequence[Stage | str], waiter: str, timeout: float, background: bool = False
    ) -> dict[str, Status]:
        """Ask for stages and wait up to ``timeout`` seconds until one ends or reaches its next rung.

        Asking again renews the waiter's leases. Among hundreds of waiters the timeout is longer, so that there are no
        more than `ANSWERS_PER_SECOND` without news.

        Args:
            asked: stages, or the keys of stages that were asked for before.
            waiter: who asks.
            timeout: seconds; see `imer_ray.stages.rungs` for what ends the wait earlier.
            background: whether the waiter wants what no trial does.

        Returns:
            key -> status, without the keys that a broker that was restarted does not know.
        """
        found = [self._jobs.get(one) if isinstance(one, str) else self._job(one) for one in asked]
        jobs = [job for job in found if job is not None]
        timeout = max(timeout, self._num_waiting / ANSWERS_PER_SECOND)
        for job in jobs:
            until = time.monotonic() + timeout + self._lease_seconds
            job.leases[waiter] = WaiterLease(until=until, background=background)
            self._start(job)
        if any(job.task is not None and job.task.done() for job in jobs):
            await asyncio.sleep(0)  # who asks again and again for what has ended lets others run as well
        elif jobs:
            self._num_waiting += 1
            try:
                await news(jobs, timeout)
            finally:
                self._num_waiting -= 1
        return {job.stage.key: self._tell(job, waiter) for job in jobs}

    def leave(self, waiter: str) -> None:
        """The waiter wants nothing any more; stages that only it wanted stop at their next epoch."""
        for job in self._jobs.values():
            job.leases.pop(waiter, None)

    async def settled(self) -> None:
        """Wait for what goes on behind stages that have ended."""
        await asyncio.gather(*(job.releasing for job in self._jobs.values() if job.releasing is not None))

    def run_of(self, key: str) -> str:
        """The name of a stage's run, for its processes' signs of life."""
        return self._jobs[key].pulse.run

    def beat(self, key: str, run: str, process: Process, worked: bool | None) -> None:
        """A sign of life, see `imer_ray.stages.pulse.Pulse.beat`."""
        if (job := self._jobs.get(key)) is not None and job.pulse.run == run:
            job.pulse.beat(process, worked)

    async def begin(self, key: str, where: Where = NOWHERE) -> Begin:
        """Called by a process that is about to run a stage; `NOT` if it need not any more, or another search does."""
        job = self._jobs.get(key)
        if job is None:  # the broker was restarted, and the stage is not asked for again yet
            return Begin.RESUMED
        begin = await self._elsewhere.leaves(job)
        return begin if begin and self.progress(key, 0, 0, {}, where) else Begin.NOT

    def progress(
        self, key: str, epoch: int, num_epochs: int, metrics: Mapping[str, float], where: Where = NOWHERE
    ) -> bool:
        """Called by a running stage, with epoch 0 when it begins; False asks it to stop."""
        job = self._jobs.get(key)
        if job is None:  # the broker was restarted, and the stage is not asked for again yet
            return True
        job.furthest = max(job.furthest, epoch)
        if job.started is None:
            job.started = time.monotonic()
        if job.status.state in ("waiting", "running"):
            if rungs.count(metrics) > rungs.count(job.status.metrics):
                job.tell()
            job.status = Status(state="running", epoch=epoch, num_epochs=num_epochs, metrics=dict(metrics))
            self.timeline.reported(job.stage, epoch, num_epochs, metrics, where, job.leases)
        return job.is_wanted()

    def runs_with(self, key: str, workers: int) -> None:
        """Called before a stage is launched: how many workers are to run it."""
        self._jobs[key].workers = workers

    def is_background(self, key: str) -> bool:
        """Whether whoever wants a stage wants it in the background."""
        return self._jobs[key].is_background()

    def stats(self) -> dict[str, Any]:
        """What was done so far.

        ``stages``: per kind of stage what `imer_ray.stages.counts` counts;
        ``running``, ``waiting`` and ``elsewhere``: what `Job.in_words` says of each stage;
        ``damaged``: artefacts put aside, in words.
        """
        jobs: dict[str, list[dict[str, Any]]] = {"running": [], "waiting": [], "elsewhere": []}
        for job in self._jobs.values():
            if job.status.state in jobs:
                jobs[job.status.state].append(job.in_words())
        return {"stages": self._counts.by_kind(), **jobs, "damaged": list(self._store.put_aside)}

    def _job(self, stage: Stage) -> Job:
        return self._jobs.setdefault(stage.key, Job(stage))

    def _start(self, job: Job) -> None:
        if job.task is None or (job.task.done() and job.status.state == "stopped"):
            job.status, job.started = Status(state="waiting"), None
            job.task = asyncio.create_task(self._compute(job))
            job.task.add_done_callback(lambda _: job.tell())

    async def _compute(self, job: Job) -> None:
        """Find or compute a stage; never raises, the outcome is ``job.status``."""
        patience = Patience(self._max_failures, self._store_seconds, seed=job.stage.key)
        kind, is_first = job.stage.kind, True
        while True:
            try:
                job.status = Status(state="waiting", why=f"which is looked for in {self._store.root}")
                job.started = None
                lacked = is_first and await in_thread(self._store.lacked, job.stage.key)
                manifest = None if lacked else await in_thread(self._store.find, job.stage.key)
                is_first = False
                patience.answered()
                if manifest is None and await self._elsewhere.computes(job):
                    continue
                if manifest is not None:
                    result = found(job.stage, manifest)
                    self.timeline.found(job.stage, result.seconds)
                else:
                    job.status = Status(state="waiting")
                    await self._compute_inputs(job)
                    result = await self._run(job)
                    job.paid = False
                    self._counts.count(kind, "computed")
                    self._counts.spent(kind, result.seconds, job.workers)
                    self.timeline.ended(job.stage, "computed", result.seconds)
                job.status = Status.done(result)
                return
            except (WorkerDied, MissingArtefact, OSError) as error:
                self._count_lost(job, "lost")
                if (seconds := patience.delay(error, job.furthest)) is None:
                    self._fail(job, self._given_up(job.stage, error, patience.num_failures))
                    return
                self._counts.count(kind, "retried")
                if seconds > 0:
                    job.status = Status(state="waiting", why=self._told(error))
                    await asyncio.sleep(seconds)
            except StageStopped:
                self._count_lost(job, "stopped")
            except Exception as error:
                self._count_lost(job, "failed")
                self._fail(job, error)
                return
            if not job.is_wanted():
                self._counts.count(kind, "stopped")
                job.status = Status(state="stopped", epoch=job.status.epoch, num_epochs=job.status.num_epochs)
                return

    def _told(self, error: Exception) -> str:
        if isinstance(error, StoreFailed):
            return f"which waits up to {self._store_seconds:g} s for its store: {error}"
        return f"which is tried again after {type(error).__name__}: {error}"

    def _given_up(self, stage: Stage, error: Exception, num_failures: int) -> Exception:
        """A store that fails is a matter of the whole search, and of its user."""
        if isinstance(error, StoreFailed):
            advice = "mend that and run the same command again, or raise scaling.store_seconds"
            return UserError(f"the store of stages has failed for {self._store_seconds:g} s: {error}; {advice}")
        return StageFailed(f"stage {stage.name} failed {num_failures} times, last: {error}")

    async def _run(self, job: Job) -> StageResult:
        """Launch a stage whose inputs are there, and see to it that it gives signs of life."""
        job.pulse, job.status = Pulse(), Status(state="waiting", why=f"which needs {self._needs(job.stage)}")
        try:
            return await watched(self._launch(job.stage), job.pulse, self._silence_seconds, self._end)
        finally:
            await self._elsewhere.release(job)

    async def _compute_inputs(self, job: Job) -> None:
        """Have all inputs in the store. Those done before are looked up again: they may be damaged since."""
        inputs = [self._job(source) for source in job.stage.inputs.values()]
        done = [source for source in inputs if source.status.state == "done"]
        manifests = await asyncio.gather(*(in_thread(self._store.find, source.stage.key) for source in done))
        for source in (source for source, manifest in zip(done, manifests, strict=True) if manifest is None):
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
            self._counts.reused(job.stage.kind, job.status.seconds)
        self.timeline.used(job.stage.key, waiter)
        job.told.add(waiter)
        return replace(job.status, reused=reused)

    def _fail(self, job: Job, error: Exception) -> None:
        """Remembered as long as the broker lives: the same stage would fail in the same way again."""
        known = isinstance(error, (UserError, NonFiniteError, StageFailed))
        told = error if known else StageFailed(f"stage {job.stage.name} failed: {type(error).__name__}: {error}")
        self._counts.count(job.stage.kind, "failed")
        job.status = Status(state="failed", error=told)

    def _count_lost(self, job: Job, how: str) -> None:
        self.timeline.ended(job.stage, how)
        if job.started is not None:
            self._counts.spent(job.stage.kind, job.elapsed(), job.workers)

"""A stage that a broker has been asked for: who waits for it, and how far it is."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.stages.pulse import Pulse
from imer_ray.stages.run import StageResult


class Begin(enum.IntEnum):
    """What a process is told that is about to run a stage.

    `NOT`: to leave it. `RESUMED`: to go on from a checkpoint, if there is one. `ANEW`: there is none.
    """

    NOT = 0
    RESUMED = 1
    ANEW = 2


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a stage is.

    Attributes:
        state: "waiting" (for its inputs or for hardware), "elsewhere" (another search computes it), "running", "done",
            "failed" or "stopped".
        epoch, num_epochs, metrics: what the stage last reported; when done, the metrics are the final ones.
        seconds: computing time, so far or in all.
        reused: when done, whether somebody else paid for it; exactly one answer says False per computation.
        why: it waits, as a clause ("which needs 1 GPU"); empty while its inputs are computed.
        shared: whether others wait for it, too: it would go on without whoever is told this.
        num_workers, hardware: when done, those of the run that ended it.
        error: when failed, a UserError, NonFiniteError or StageFailed.
    """

    state: str
    epoch: int = 0
    num_epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reused: bool = False
    why: str = ""
    shared: bool = False
    num_workers: int = 1
    hardware: str = ""
    error: Exception | None = None

    @classmethod
    def done(cls, result: StageResult) -> Status:
        """Of a stage that has ended well."""
        return cls(
            state="done",
            metrics=result.metrics,
            seconds=result.seconds,
            reused=result.reused,
            num_workers=result.num_workers,
            hardware=result.hardware,
        )


@dataclass(frozen=True, kw_only=True)
class WaiterLease:
    """How long a waiter counts that asks no more.

    Attributes:
        until: when it is given up as gone, by `time.monotonic`.
        background: it wants what no trial does: baselines, say. Trials need not make way for it.
    """

    until: float
    background: bool = False

    def counts(self) -> bool:
        return self.until > time.monotonic()


@dataclass(eq=False)
class Job:
    stage: Stage
    leases: dict[str, WaiterLease] = field(default_factory=dict)  # by waiter
    users: set[Job] = field(default_factory=set)  # jobs that need this one as an input
    told: set[str] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    status: Status = field(default_factory=lambda: Status(state="waiting"))
    furthest: int = 0  # the epoch that it came to, whichever attempt did
    started: float | None = None  # when the worker began, on the broker's clock
    events: set[asyncio.Event] = field(default_factory=set)  # of those who wait at this moment
    paid: bool = True  # somebody has been told that this computation was for it
    workers: int = 1  # of the run that was begun last
    claimed: bool = False  # for this driver, among those that share the store
    releasing: asyncio.Task[None] | None = None  # the claim of the run before
    pulse: Pulse = field(default_factory=Pulse)  # of the run that was begun last

    def tell(self) -> None:
        """It has ended, or reported how it compares: wake those who wait."""
        for event in self.events:
            event.set()

    def in_words(self) -> dict[str, Any]:
        """What a search shows of it: ``why`` it waits until it runs; then epoch, num_epochs, seconds and workers."""
        said: dict[str, Any] = {"name": self.stage.name, "key": self.stage.key}
        if self.status.state != "running":
            return {**said, "why": self.status.why}
        of = self.status.epoch, self.status.num_epochs
        return {**said, "epoch": of[0], "num_epochs": of[1], "seconds": self.elapsed(), "workers": self.workers}

    def elapsed(self) -> float:
        return 0.0 if self.started is None else time.monotonic() - self.started

    def is_shared(self, waiter: str) -> bool:
        """Whether anybody else waits for it."""
        return any(lease.counts() for name, lease in self.leases.items() if name != waiter)

    def is_wanted(self) -> bool:
        """Whether anybody waits for it, or for a stage that needs it."""
        return any(lease.counts() for lease in self.leases.values()) or any(u.is_wanted() for u in self.users)

    def is_background(self) -> bool:
        """Whether whoever wants it wants it in the background."""
        return bool(self.leases) and all(lease.background for lease in self.leases.values()) and not self.users


async def news(jobs: Sequence[Job], timeout: float) -> None:
    """Wait until one ends or reaches a rung.

    One event for all jobs, since adding and removing it costs the same however many wait for a job.
    """
    event = asyncio.Event()
    for job in jobs:
        job.events.add(event)
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        pass
    finally:
        for job in jobs:
            job.events.discard(event)

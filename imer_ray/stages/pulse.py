"""Signs of life of the processes that compute a stage: a stage that gives none for long is ended, to be tried again.

Each process *beats* from a thread of its own. A beat proves that the process is not stopped and reaches the broker; it
also says whether the thread that computes has used any processor time since the last one, because a thread that waits
for a frozen mount or an object store that never answers uses none while the others go on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
BEATS = 10  # within the time after which a stage is silent: a few may come late on a busy machine
MAX_SECONDS = 30.0  # between two beats
ENDING_SECONDS = 30.0  # that a launcher has to notice that the processes are gone


class WorkerDied(Exception):
    """The process that ran a stage died before it finished; the stage's checkpoint is where it was."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process on some node. Numbers are used again, so ``born`` (clock ticks since the boot) is part of it."""

    host: str
    node: str
    pid: int
    born: int

    @classmethod
    def here(cls, node: str = "") -> Process:
        """This process."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), node=node, pid=pid, born=_born(pid))

    def kill(self) -> None:
        """End it with SIGKILL, which ends a stopped one as well; to be called on its node."""
        try:
            if _born(self.pid) == self.born:
                os.kill(self.pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):  # it is gone
            pass


def _born(pid: int) -> int:
    """Field 22 of /proc/<pid>/stat; the second one, a name in parentheses, may hold spaces."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])


End = Callable[[Collection[Process]], Awaitable[None]]


async def end_here(processes: Collection[Process]) -> None:
    """End processes of this machine."""
    for process in processes:
        process.kill()


def period(silence_seconds: float) -> float:
    """Seconds between two beats."""
    return min(silence_seconds / BEATS, MAX_SECONDS)


@dataclass(kw_only=True)
class Pulse:
    """What is known of the processes of one run of a stage; without any it waits for hardware and is not silent.

    Attributes:
        run: names this run, so that what another one's processes say late is not taken for its own's.
        quiet: process -> seconds since its last beat.
        workers: those that compute; the others only look after them.
        idle: seconds since the last sign that any worker computes; ranks wait for each other, so one is enough.
    """

    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    quiet: dict[Process, float] = field(default_factory=dict)
    workers: set[Process] = field(default_factory=set)
    idle: float = 0.0

    def beat(self, process: Process, worked: bool | None) -> None:
        """``worked``: whether it has computed since its last beat; None: it is no worker."""
        self.quiet[process] = 0.0
        if worked is not None:
            self.idle = 0.0 if worked or not self.workers else self.idle
            self.workers.add(process)

    def passed(self, seconds: float) -> None:
        for process in self.quiet:
            self.quiet[process] += seconds
        self.idle += seconds

    def silence(self, limit: float) -> str | None:
        """In words, what has been silent for longer than ``limit`` seconds, if anything has."""
        for process, seconds in self.quiet.items():
            if seconds > limit:
                return f"process {process.pid} on {process.host} gave no sign of life for {limit:g} s"
        if self.workers and self.idle > limit:
            first = min(self.workers, key=lambda process: process.pid)
            return f"process {first.pid} on {first.host} has not computed for {limit:g} s"
        return None


async def watched(running: Awaitable[T], pulse: Pulse, silence_seconds: float, end: End) -> T:
    """The result of a run, unless its processes fall silent: then they are ended.

    Only time in which this loop runs counts, so that a broker that was stopped itself accuses nobody.

    Raises:
        WorkerDied: it was silent.
    """
    task, tick = asyncio.ensure_future(running), period(silence_seconds)
    try:
        while not (await asyncio.wait({task}, timeout=tick))[0]:
            pulse.passed(tick)
            if reason := pulse.silence(silence_seconds):
                await _ended(task, pulse, end)
                if task.done() and task.exception() is None:  # at the last moment
                    break
                raise WorkerDied(reason)
        return task.result()
    finally:
        task.cancel()  # a process that cannot even be killed is left behind


async def _ended(task: asyncio.Future[T], pulse: Pulse, end: End) -> None:
    """Whoever looks after the workers tidies up when they are gone; it goes only if that does not end the run."""
    for processes in (pulse.workers, set(pulse.quiet)):
        await end(processes)
        if (await asyncio.wait({task}, timeout=ENDING_SECONDS))[0]:
            return

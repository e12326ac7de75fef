"""What a broker did, run by run: which stage, where, when, for whom, how it ended. Reports need it, nothing else."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from imer_ray.stages.graph import Stage

MAX_RUNS = 50_000  # a broker forgets what is older: whoever wants to keep it asks every few seconds
MAX_REPORTS = 20_000


@dataclass(frozen=True, kw_only=True)
class Where:
    """What a stage runs on.

    Attributes:
        host: the machine's name.
        node: Ray's id of the node, of which one machine may have several.
        executor: "inline" (a task of its own) or "ray_train" (a worker group); empty for what was found.
    """

    host: str
    node: str = ""
    executor: str = "inline"


@dataclass(kw_only=True)
class StageRun:
    """One run of a stage, or one time that it was found in the store.

    Attributes:
        run: unique; a stage that was stopped, or whose process died, has further runs.
        status: "running", "computed", "found" (in the store, from before this broker), "stopped" (nobody waited for it
            any more), "lost" (its process died, or its inputs or files could not be read) or "failed".
        started, finished: seconds since 1970, of the broker's clock; while it runs ``finished`` is when it was last
            heard of.
        seconds: computing time; of a found stage, what it took when it was computed.
        waiters: who asked for it, in the order in which they did; all but the first of a computed one reused it.
    """

    run: str
    stage: str
    kind: str
    key: str
    status: str
    host: str
    node: str
    executor: str
    started: float
    finished: float
    seconds: float = 0.0
    epoch: int = 0
    num_epochs: int = 0
    waiters: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is new since somebody asked last.

    Attributes:
        broker: another one means that the broker was restarted, and that what it ran died with it.
        revision: to be given when asking again.
        runs: each run that began or changed, as it is now.
        reports: (key, epoch, metrics) of the epochs that running stages told of, in order.
    """

    broker: str
    revision: int
    runs: list[StageRun]
    reports: list[tuple[str, int, dict[str, float]]]


class Timeline:
    """A broker's notes of its runs; each note has a number, so that whoever follows is told only what is new."""

    def __init__(self) -> None:
        self._broker = uuid.uuid4().hex
        self._revision = 0
        self._changed: OrderedDict[str, int] = OrderedDict()  # run -> revision of its last change, oldest first
        self._runs: dict[str, StageRun] = {}
        self._latest: dict[str, StageRun] = {}  # key -> its last run
        self._reports: deque[tuple[int, str, int, dict[str, float]]] = deque(maxlen=MAX_REPORTS)

    def reported(
        self,
        stage: Stage,
        epoch: int,
        num_epochs: int,
        metrics: Mapping[str, float],
        where: Where,
        waiters: Iterable[str],
    ) -> None:
        """A worker began with a stage (epoch 0), or finished another epoch of it."""
        run = self._latest.get(stage.key)
        if run is None or run.status != "running":
            run = self._begin(stage, "running", where)
        run.epoch, run.num_epochs = epoch, num_epochs
        self._told(run, waiters)
        if epoch and metrics:
            self._reports.append((self._revision, stage.key, epoch, dict(metrics)))

    def found(self, stage: Stage, seconds: float) -> None:
        """A stage was in the store already."""
        run = self._begin(stage, "found", Where(host="", executor=""))
        run.seconds = seconds

    def ended(self, stage: Stage, status: str, seconds: float | None = None) -> None:
        """A stage's run ended. One that never told that it began has no run, unless it was computed all the same."""
        run = self._latest.get(stage.key)
        if run is None or run.status != "running":
            if status != "computed":
                return
            run = self._begin(stage, status, Where(host=""))
            run.started -= seconds or 0.0
        run.status, run.finished = status, time.time()
        run.seconds = run.finished - run.started if seconds is None else seconds
        self._note(run)

    def used(self, key: str, waiter: str) -> None:
        """A waiter was given the stage's result."""
        if (run := self._latest.get(key)) is not None:
            self._told(run, [waiter], heard=False)

    def since(self, broker: str, revision: int) -> Changes:
        """What is new after ``revision`` of the broker that the caller followed; all there is if that was another."""
        known = revision if broker == self._broker else 0
        newest = takewhile(lambda name: self._changed[name] > known, reversed(self._changed))
        reports = takewhile(lambda report: report[0] > known, reversed(self._reports))
        return Changes(
            broker=self._broker,
            revision=self._revision,
            runs=[self._runs[name] for name in newest][::-1],
            reports=[report[1:] for report in reports][::-1],
        )

    def _begin(self, stage: Stage, status: str, where: Where) -> StageRun:
        now = time.time()
        run = StageRun(
            run=uuid.uuid4().hex,
            stage=stage.name,
            kind=stage.kind,
            key=stage.key,
            status=status,
            host=where.host,
            node=where.node,
            executor=where.executor,
            started=now,
            finished=now,
        )
        self._runs[run.run] = self._latest[stage.key] = run
        self._note(run)
        if len(self._runs) > MAX_RUNS:
            oldest = self._runs.pop(self._changed.popitem(last=False)[0])
            if self._latest.get(oldest.key) is oldest:
                del self._latest[oldest.key]
        return run

    def _told(self, run: StageRun, waiters: Iterable[str], heard: bool = True) -> None:
        run.waiters += [waiter for waiter in waiters if waiter not in run.waiters]
        if heard:
            run.finished = time.time()
        self._note(run)

    def _note(self, run: StageRun) -> None:
        self._revision += 1
        self._changed[run.run] = self._revision
        self._changed.move_to_end(run.run)

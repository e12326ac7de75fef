"""How a trial stands: what its stages compare by, how far they are, and the row that is left of it if it is stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from socket import gethostname
from typing import Any

from imer_ray.results.schema import COLUMNS
from imer_ray.stages import rungs
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.run import StageResult

STANDING = "standing"  # key of a report: JSON of `TrialStatus.report`
COST = "cost"  # kind of the stage whose result is known before training ends

Compared = dict[str, dict[int, float]]


def compared(stages: Iterable[tuple[Stage, Mapping[str, float]]]) -> Compared:
    """Kind of stage -> epoch -> value, of what a graph's stages reported at their rungs, from their metrics so far."""
    return {stage.kind: found for stage, metrics in stages if (found := rungs.read(metrics))}


class TrialStatus:
    """Collects what the threads that wait for a trial's stages are told, and says it in one report.

    Args:
        stages: those of the trial's own point.

    Attributes:
        news: done when there is something new at a rung.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._stages = {stage.key: stage for stage in stages}
        self._latest: dict[str, Status] = {}
        self._shown: dict[str, Any] = {}
        self._started = datetime.now(UTC)
        self._lock = threading.Lock()
        self._nothing_told = threading.Event()
        self._nothing_told.set()
        self.news: Future[None] = Future()

    def saw(self, stage: Stage, status: Status) -> None:
        """A stage is not done yet. Returns only when no report is under way: Tune may never return from it, and the
        stage must not be asked for again then."""
        with self._lock:
            before = self._latest.get(stage.key)
            if stage.key in self._stages:
                self._latest[stage.key] = status
            if status.state == "running":
                self._shown = {"stage": stage.name, "epoch": status.epoch, "num_epochs": status.num_epochs}
            new = rungs.count(status.metrics) > (rungs.count(before.metrics) if before else 0)
            if new and not self.news.done():
                self.news.set_result(None)
        self._nothing_told.wait()

    def ended(self, stage: Stage, result: StageResult) -> None:
        if stage.key in self._stages:
            done = Status.done(result)
            with self._lock:
                self._latest[stage.key] = done

    @contextmanager
    def telling(self) -> Iterator[dict[str, Any]]:
        """The report, and the time in which it is told."""
        self._nothing_told.clear()
        try:
            with self._lock:
                if self.news.done():
                    self.news = Future()
                report = {**self._shown, STANDING: json.dumps(self._report())}
            yield report
        finally:
            self._nothing_told.set()

    @property
    def shown(self) -> tuple[Any, ...]:
        """Changes when there is something to tell."""
        with self._lock:
            return (*self._shown.values(), len(self._latest))

    def _report(self) -> dict[str, Any]:
        """``compared`` and ``alone`` as in `imer_ray.tuning.schedulers.Progress`, ``cost`` as far as it was measured,
        and the ``row`` of a trial that ends here."""
        found = [(stage, self._latest.get(key, Status(state="waiting"))) for key, stage in self._stages.items()]
        own = {stage.kind for stage, status in found if status.state == "running" and not status.shared}
        values = compared((stage, status.metrics) for stage, status in found)
        done = [status for _, status in found if status.state == "done"]
        running = [(stage, status) for stage, status in found if status.state == "running"]
        cost = [status.metrics for stage, status in found if stage.kind == COST and status.state == "done"]
        row = {
            **{name: value for name, value in (cost[0] if cost else {}).items() if name in COLUMNS},
            "epochs": int(sum(s.metrics.get("epochs", 0) for s in done) + sum(s.epoch for _, s in running)),
            "fidelity": (len(done) + sum(s.epoch / max(s.num_epochs, 1) for _, s in running)) / len(found),
            "stages": json.dumps({stage.name: stage.key for stage, _ in found}),
            "rungs": json.dumps(values) if values else None,
            "seconds_computed": sum(s.seconds for s in done if not s.reused)
            + sum(s.seconds for _, s in running if not s.shared),
            "seconds_reused": sum(s.seconds for s in done if s.reused),
            "started": self._started.isoformat(),
            "host": gethostname(),
        }
        alone = [kind for kind in values if kind in own]
        return {"compared": values, "alone": alone, "cost": dict(cost[0]) if cost else {}, "row": row}

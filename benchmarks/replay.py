"""What a search would have computed, told without computing it again: for ``benchmarks/search.py``.

A stage is computed once, in this process, on one thread, and kept with its CPU seconds. `Replay` stands in for the
broker of one study: it charges a stage to the first trial that asks for it, and has a training that is charged report
at its rungs, so that a scheduler may stop it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imer_ray.files import write_whole
from imer_ray.stages import rungs
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.run import Place, StageResult, execute
from imer_ray.stages.store import Store

WAIT_SECONDS = 0.01
LEAST_SECONDS, MAX_SECONDS = 3.0, 3600.0  # of waiting for a judgement, and for a training beside which one is replayed


class Stages:
    """Every stage that any search asks for, computed once, and what it took.

    Args:
        folder: of the artefacts and ``seconds.json``.
        rungs: what trainings note for the scheduler's replay.
    """

    def __init__(self, folder: Path, rungs: tuple[int, ...]) -> None:
        self._store = Store(folder / "stages")
        self._store.prepare()
        self._file = folder / "seconds.json"
        self._rungs = rungs
        self.seconds: dict[str, float] = (
            json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
        )
        self._lock = threading.Lock()

    def get(self, stage: Stage) -> StageResult:
        """The stage, after all its inputs."""
        with self._lock:
            for needed in stage.with_rungs(self._rungs).in_order():
                if needed.key not in self.seconds or self._store.find(needed.key) is None:
                    begun = time.process_time()
                    execute(needed, self._store, place=Place(num_threads=1))
                    self.seconds[needed.key] = time.process_time() - begun
                    write_whole(self._file, json.dumps(self.seconds).encode())
        manifest = self._store.open(stage.key).manifest
        seconds = self.seconds[stage.key]
        return StageResult(
            key=stage.key, name=stage.name, seconds=seconds, reused=False, metrics=dict(manifest.metrics)
        )


@dataclass
class Replay:
    """One study's client: finds all stages, and keeps account of what the study would have computed.

    Attributes:
        paid: share of each stage that the study has computed so far.
        trial_seconds: what the present trial would have computed by itself, sharing with no other.
    """

    stages: Stages
    paid: dict[str, float] = field(default_factory=dict)
    trial_seconds: float = 0.0
    _judged: set[tuple[str, int]] = field(default_factory=set)
    _together: dict[str, threading.Barrier] = field(default_factory=dict)
    _came: dict[str, float] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, final: Stage) -> None:
        """A trial: its trainings of one kind that are still to be paid run side by side."""
        kinds = Counter(stage.kind for stage in final.in_order() if self.paid.get(stage.key, 0.0) < 1.0)
        self._together = {kind: threading.Barrier(count) for kind, count in kinds.items()}
        self._judged, self._done, self.trial_seconds = set(), set(), 0.0

    def compute(
        self, stage: Stage, waiter: str, on_progress: Callable[[Status], None], background: bool = False
    ) -> StageResult:
        while not {source.key for source in stage.inputs.values()} <= self._done:
            on_progress(Status(state="waiting"))  # raises when the trial has been stopped
            time.sleep(WAIT_SECONDS)
        result, share = self.stages.get(stage), 1.0
        reused = self.paid.get(stage.key, 0.0) >= 1.0
        try:
            if not reused:
                self._replay(stage, result, on_progress)
        except Exception:
            share = self._came[stage.key]
            raise
        finally:
            with self._lock:
                self.paid[stage.key] = max(self.paid.get(stage.key, 0.0), share)
                self.trial_seconds += share * result.seconds
        self._done.add(stage.key)
        return StageResult(
            key=stage.key, name=stage.name, seconds=result.seconds, reused=reused, metrics=result.metrics
        )

    def _replay(self, stage: Stage, result: StageResult, on_progress: Callable[[Status], None]) -> None:
        """Report at each rung, and go on when the trial has been judged there."""
        num_epochs = int(result.metrics.get("epochs", 0))
        at = sorted(rungs.read(result.metrics))
        self._came[stage.key] = 0.0
        for epoch in at:
            self._together[stage.kind].wait(MAX_SECONDS)
            self._came[stage.key] = epoch / num_epochs
            later = {f".{other}" for other in at if other > epoch}
            seen = {k: v for k, v in result.metrics.items() if not any(k.endswith(end) for end in later)}
            status = Status(state="running", epoch=epoch, num_epochs=num_epochs, metrics=seen)
            on_progress(status)
            until = time.monotonic() + LEAST_SECONDS  # nobody judges what cannot be compared
            while (stage.kind, epoch) not in self._judged and time.monotonic() < until:
                time.sleep(WAIT_SECONDS)
                on_progress(status)
            on_progress(status)  # raises if the trial was stopped

    def judged(self, standing: Mapping[str, Any]) -> None:
        """The scheduler has seen a report."""
        for name, values in standing["compared"].items():
            self._judged |= {(name.partition(" ")[0], int(epoch)) for epoch in values}

    def leave(self, waiter: str) -> None: ...

    def stats(self) -> dict[str, Any]:
        return {"running": []}


class Stopped(BaseException):
    """The scheduler ends the trial, as Tune does: with something that no trial catches."""

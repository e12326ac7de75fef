"""How a study is doing, in numbers, kept up to date at a cost that does not grow with the study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imer_ray.results.counting import Reuse, identity
from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.pareto import pareto_front
from imer_ray.results.schema import StudyInfo


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A study at one moment.

    Attributes:
        num_trials: how many it is meant to have.
        complete, running, stopped, failed: trials by state.
        num_points: evaluated points of the complete trials, each result once (`imer_ray.results.counting.identity`).
        front: those on the Pareto front, within the study's constraints.
        hypervolume: up to the study's reference point.
        best: metric -> the best value that any point has, for each objective.
        reused: share of the computing that trials asked for, see `imer_ray.results.counting.Reuse`.
        seconds_left: an estimate, None while too little is known.
        first_point: how far that is, in words, while there is none.
    """

    num_trials: int
    complete: int = 0
    running: int = 0
    stopped: int = 0
    failed: int = 0
    num_points: int = 0
    front: int = 0
    hypervolume: float = 0.0
    best: Mapping[str, float] = field(default_factory=dict)
    reused: float = 0.0
    seconds_left: float | None = None
    first_point: str = ""

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return self.complete + self.stopped + self.failed


class Tally:
    """Counts a record's rows, each once.

    Args:
        info: the study.
    """

    def __init__(self, info: StudyInfo) -> None:
        self._info = info
        self._seen = 0
        self._states: dict[int, str] = {}  # of the trials
        self._num_points = 0
        self._points: set[str] = set()
        self._front = np.empty((0, len(info.objectives)))
        self._best: dict[str, tuple[float, float]] = {}  # metric -> (minimised, as measured)
        self._reuse = Reuse()
        self._hypervolume = 0.0

    def count(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in the rows that are new since the last time; rows are only ever appended."""
        new, self._seen = rows[self._seen :], len(rows)
        new = [row for row in new if not row.get("repeat")]  # a point counts once, however many seeds it is run with
        self._states.update((row["trial"], row["status"]) for row in new if row["point"] == 0)
        self._reuse = self._reuse.and_of(new)
        complete = [row for row in new if row["status"] == "complete" and self._is_first(row)]
        self._num_points += len(complete)
        if feasible := [row for row in complete if row.get("feasible") is not False]:
            self._add(feasible)

    def progress(self, running: Collection[int], seconds_left: float | None = None, first_point: str = "") -> Progress:
        """The study now, with these trials running: some had been stopped."""
        states = Counter(status for trial, status in self._states.items() if trial not in running)
        return Progress(
            num_trials=self._info.num_trials,
            complete=states["complete"],
            running=len(running),
            stopped=states["stopped"],
            failed=states["failed"],
            num_points=self._num_points,
            front=len(self._front),
            hypervolume=self._hypervolume,
            best={metric: measured for metric, (_, measured) in self._best.items()},
            reused=self._reuse.share,
            seconds_left=seconds_left,
            first_point=first_point,
        )

    def _is_first(self, row: Mapping[str, Any]) -> bool:
        """Whether no row before stands for the same result."""
        named = identity(row)
        if named is None:
            return True
        before = len(self._points)
        self._points.add(named)
        return len(self._points) > before

    def _add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        points = np.array([[row[objective.column] for objective in self._info.objectives] for row in rows], dtype=float)
        together = np.concatenate([self._front, points])  # a point that was dominated once stays so
        self._front = together[pareto_front(together)]
        self._hypervolume = float(hypervolume(self._front, self._info.reference))
        for column, objective in zip(points.T, self._info.objectives, strict=True):
            least = int(column.argmin())
            found = (float(column[least]), float(rows[least][objective.metric]))
            self._best[objective.metric] = min(self._best.get(objective.metric, found), found)

"""One line that says how a search is doing: rewritten in place on a terminal, appended now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from analysis.hypervolume import hypervolume
from analysis.pareto import pareto_front
from imer_ray.results.schema import StudyInfo

TERMINAL_SECONDS = 0.5
FIRST_SECONDS = 20.0
GROWTH = 0.25  # later lines come when a quarter more time has passed: 10 lines in 5 minutes, 25 in two hours


def summary(rows: Sequence[Mapping[str, Any]], info: StudyInfo) -> str:
    """Front, hypervolume, the best of each objective and the share of computing time that was reused."""
    complete = [row for row in rows if row["status"] == "complete"]
    num_failed = sum(row["status"] == "failed" and row["point"] == 0 for row in rows)
    failed = f", {num_failed} failed" if num_failed else ""
    if not complete:
        return failed
    points = np.array([[row[objective.column] for objective in info.objectives] for row in complete])
    best = [complete[int(i)][o.metric] for i, o in zip(points.argmin(0), info.objectives, strict=True)]
    names = [objective.metric.removeprefix("valid.") for objective in info.objectives]
    own = [row for row in rows if row["point"] == 0]
    reused, computed = (sum(row.get(f"seconds_{how}") or 0.0 for row in own) for how in ("reused", "computed"))
    area = hypervolume(points, info.reference)
    return (
        f"{failed} | front {pareto_front(points).sum()} of {len(complete)} points, hypervolume {area:.3f}"
        f" | best {names[0]} {best[0]:.3f}, {names[1]} {best[1]:.3g}"
        f" | reused {100 * reused / max(reused + computed, 1e-9):.0f} %"
    )


class ProgressLine:
    """Shows a study's progress.

    Args:
        info: the study.
        done: trials finished before this run.
        stream: where to write, by default to stdout; in place if it is a terminal.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        info: StudyInfo,
        done: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._info = info
        self._done_before = done
        self._stream = stream or sys.stdout
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._started = clock()
        self._next = self._started + (0.0 if self._terminal else FIRST_SECONDS)
        self._summary = (-1, "")
        self._shown = ""

    def show(
        self,
        rows: Sequence[Mapping[str, Any]],
        done: int,
        running: int,
        last: bool = False,
        stages: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        """Write the line if it is time, or if it is the ``last``. ``stages`` tells which are running (the broker's
        ``stats()["running"]``); it is asked only when a line is written."""
        now = self._clock()
        if not last and now < self._next:
            return
        elapsed = now - self._started
        self._next = now + (TERMINAL_SECONDS if self._terminal else max(FIRST_SECONDS, GROWTH * elapsed))
        if self._summary[0] != len(rows):
            self._summary = (len(rows), summary(rows, self._info))
        text = f"{done}/{self._info.num_trials} trials, {running} running{self._summary[1]}"
        finished = done - self._done_before
        if 0 < finished and done < self._info.num_trials:
            text += f" | {_clock(elapsed / finished * (self._info.num_trials - done))} left"
        if not last:
            text += _computing(stages())
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r" + text[:width].ljust(min(width, len(self._shown))) + ("\n" if last else ""))
        elif text != self._shown:
            self._stream.write(text + "\n")
        self._shown = text
        self._stream.flush()


def _computing(stages: Sequence[Mapping[str, Any]]) -> str:
    names = [
        stage["name"] + (f" {stage['epoch']}/{stage['num_epochs']}" if stage["num_epochs"] else "") for stage in stages
    ]
    return f" | computing {', '.join(names)}" if names else ""


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

"""Long work on the screen: a small table rewritten in place on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from imer_ray.results.schema import METRIC_PREFIX
from imer_ray.tuning.monitor.progress import Progress

TERMINAL_SECONDS = 0.5
FIRST_SECONDS = 20.0
GROWTH = 0.25  # later lines come when a quarter more time has passed: 10 lines in 5 minutes, 25 in two hours
CLEAR, UP = "\r\x1b[J", "\x1b[{}A"  # to the end of the screen; so many lines

MAX_NAMES = 3  # of stages that wait for the same

Stages = Mapping[str, Sequence[Mapping[str, Any]]]
"""What a broker's ``stats()`` says of ``running`` stages (name, epoch, num_epochs) and others (name, why)."""
NO_STAGES: Stages = {}


class Display:
    """Shows the progress of a study, or of other work.

    Args:
        stream: where to write, by default to stdout.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._in_place = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._started = clock()
        self._next = self._started + (0.0 if self._in_place else FIRST_SECONDS)
        self._shown = ""
        self._height = 0  # lines of the table that stand below the cursor

    @property
    def due(self) -> bool:
        """Whether it is time to show something."""
        return self._clock() >= self._next

    def show(self, progress: Progress | Jobs, stages: Stages = NO_STAGES, last: bool = False) -> None:
        """Show it now; of the ``last`` the terminal's cursor is left below the table."""
        self.postpone()
        if self._in_place:
            self._rewrite(progress, stages, last)
        elif (text := line(progress, stages)) != self._shown:
            self._shown = text
            self._stream.write(text + "\n")
        self._stream.flush()

    def postpone(self) -> None:
        """Show nothing for a while: something else has just been said."""
        now = self._clock()
        self._next = now + (TERMINAL_SECONDS if self._in_place else max(FIRST_SECONDS, GROWTH * (now - self._started)))

    def close(self) -> None:
        """Leave the terminal's cursor below the table, if it is not."""
        self._stream.write("\n" * self._height)
        self._stream.flush()
        self._height = 0

    def _rewrite(self, progress: Progress | Jobs, stages: Stages, last: bool) -> None:
        size = shutil.get_terminal_size()
        lines = [f"{name:<11}{said}"[: size.columns - 1] for name, said in table(progress, stages)]
        lines = lines[: max(1, size.lines - 1)]
        self._height = 0 if last else len(lines)
        # The cursor waits above the table, so that whatever else is printed meanwhile stays, and the table moves down.
        back = "" if last else UP.format(len(lines))
        self._stream.write(CLEAR + "".join(f"{text}\n" for text in lines) + back)


@dataclass(frozen=True)
class Jobs:
    """How many of some pieces of work, called ``name``, are done."""

    name: str
    done: int
    num_jobs: int


def line(progress: Progress | Jobs, stages: Stages = NO_STAGES) -> str:
    """All there is to say, in one line."""
    if isinstance(progress, Jobs):
        parts = [f"{progress.done}/{progress.num_jobs} {progress.name}"]
    else:
        parts = list(_of_study(progress))
    if running := stages.get("running"):
        parts.append(f"computing {_computing(running)}")
    parts += [f"waiting for {text}" for text in _waiting(stages)]
    return " | ".join(parts)


def _of_study(progress: Progress) -> Iterator[str]:
    yield f"{progress.done}/{progress.num_trials} trials, {_states(progress, 'running', 'stopped', 'failed')}"
    if not progress.num_points and progress.first_point:
        yield f"first point: {progress.first_point}"
    if progress.num_points:
        yield _front(progress)
        yield f"best {_best(progress)}"
        yield f"reused {100 * progress.reused:.0f} %"
    if progress.seconds_left is not None:
        yield f"{clock(progress.seconds_left)} left"


def table(progress: Progress | Jobs, stages: Stages = NO_STAGES) -> Iterator[tuple[str, str]]:
    """The same as (name, what to say) for the lines of a table."""
    if isinstance(progress, Jobs):
        yield progress.name, f"{progress.done} of {progress.num_jobs}"
    else:
        states = _states(progress, "complete", "running", "stopped", "failed")
        yield "trials", f"{progress.done} of {progress.num_trials}: {states}"
        if not progress.num_points and progress.first_point:
            yield "first", progress.first_point
        if progress.num_points:
            yield "front", _front(progress).removeprefix("front ")
            yield "best", _best(progress)
            yield "reused", f"{100 * progress.reused:.0f} % of the computing that trials asked for"
    if running := stages.get("running"):
        yield "computing", _computing(running)
    for text in _waiting(stages):
        yield "waiting for", text
    if isinstance(progress, Progress) and progress.seconds_left is not None:
        yield "time left", clock(progress.seconds_left)


def clock(seconds: float) -> str:
    """``2:05``, ``1:02:05``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _states(progress: Progress, *names: str) -> str:
    """Trials by state; what there is none of goes without saying, but for those that run."""
    counts = [(name, getattr(progress, name)) for name in names]
    return ", ".join(f"{count} {name}" for name, count in counts if count or name == "running")


def _front(progress: Progress) -> str:
    return f"front {progress.front} of {progress.num_points} points, hypervolume {progress.hypervolume:.3f}"


def _best(progress: Progress) -> str:
    found = [(metric.removeprefix(METRIC_PREFIX), value) for metric, value in progress.best.items()]
    return ", ".join(f"{name} {value:{'.3f' if abs(value) < 1 else '.3g'}}" for name, value in found)


def _computing(running: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        stage["name"] + (f" {stage['epoch']}/{stage['num_epochs']}" if stage["num_epochs"] else "") for stage in running
    )


def _waiting(stages: Stages) -> Iterator[str]:
    """What is waited for and why; that stages wait for hardware goes without saying as long as others run on it."""
    reasons: dict[str, list[str]] = {}
    for stage in [*stages.get("elsewhere", ()), *(() if stages.get("running") else stages.get("waiting", ()))]:
        if stage["why"]:
            reasons.setdefault(stage["why"], []).append(stage["name"])
    for why, found in reasons.items():
        names = [name if count == 1 else f"{count} {name}" for name, count in Counter(found).items()]
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        yield f"{', '.join(names[:MAX_NAMES])}{more}, {why}"

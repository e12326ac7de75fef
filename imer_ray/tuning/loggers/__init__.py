"""Where a search is written down besides its own files; each module here is a choice of ``study.loggers``.

A module has ``open_logger(folder, info, before) -> Logger``, given a study's folder and the rows of the trials that had
ended before, and imports the package that it writes with, so that only those are needed that are chosen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from imer_ray.config.tree import flatten

if TYPE_CHECKING:
    from imer_ray.results.schema import StudyInfo
    from imer_ray.tuning.monitor.progress import Progress

Row = Mapping[str, Any]
Curves = Mapping[str, Mapping[int, Mapping[str, float]]]
"""stage name -> epoch -> what the stage reported of it; not of every epoch where they pass quickly."""
_NAMES = ("trial", "point", "repeat", "derived_from", "seed")


class Logger(Protocol):
    """Writes a study down somewhere. It may be slow and may fail: the search neither waits for it nor ends with it."""

    def trial(self, rows: Sequence[Row], curves: Curves) -> None:
        """A trial has ended: its rows as in `imer_ray.results.schema`, its own point first, and its stages' curves."""

    def progress(self, progress: Progress) -> None:
        """The study as a whole after some trials more have ended."""

    def close(self) -> None:
        """Nothing more will come."""


def searched(row: Row, info: StudyInfo) -> dict[str, Any]:
    """The searched settings that a point has, as numbers or text."""
    flat = flatten(json.loads(row["config"]))
    found = {path: flat[path] for path in info.space if flat.get(path) is not None}
    return {path: value if isinstance(value, (bool, int, float)) else str(value) for path, value in found.items()}


def measured(row: Row) -> dict[str, float]:
    """All finite numbers of a point but those that only say which row it is."""
    numbers = {name: value for name, value in row.items() if name not in _NAMES and type(value) in (int, float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def title(row: Row) -> str:
    """A trial as its files and runs are called, so that they sort: ``trial-0012``."""
    return f"trial-{row['trial']:04}"


def tag(stage: str, metric: str) -> str:
    """The name of a stage's curve: ``pretrain/l/loss``; brackets are refused by most."""
    return f"{stage.replace('[', '/').rstrip(']')}/{metric}"


def as_numbers(progress: Progress) -> dict[str, float]:
    """A study's progress by name: ``front/hypervolume``, ``trials/complete``, ``best/<metric>``, ..."""
    states = {name: getattr(progress, name) for name in ("complete", "running", "stopped", "failed")}
    return {
        "front/hypervolume": progress.hypervolume,
        "front/size": progress.front,
        "front/points": progress.num_points,
        "reused_share": progress.reused,
        **{f"best/{metric}": value for metric, value in progress.best.items()},
        **{f"trials/{name}": count for name, count in states.items()},
    }

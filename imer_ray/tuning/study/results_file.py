"""A study's results.parquet, kept up to date while trials finish."""

from __future__ import annotations

import functools
import json
import platform
import time
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from imer_ray.config.tree import flatten
from imer_ray.results.schema import CONFIG_PREFIX, RESULTS
from imer_ray.results.writer import write_results
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record

WRITING_SHARE = 0.02  # of the time, at most, goes into writing results while trials run


def write(plan: Plan, record: Record) -> Path:
    """Write results.parquet from the record."""
    path = plan.folder / RESULTS
    write_results(path, [_result(row) for row in record.results], plan.info)
    return path


class ResultsFile:
    """Keeps results.parquet up to date while trials finish, without spending much of the time on it."""

    def __init__(self, plan: Plan, record: Record) -> None:
        self._plan = plan
        self._record = record
        self._written = -1
        self._next = 0.0

    def update(self) -> None:
        num_rows = len(self._record.history) + len(self._record.repeats)
        if num_rows != self._written and (now := time.monotonic()) >= self._next:
            self._written = num_rows
            write(self._plan, self._record)
            took = time.monotonic() - now
            self._next = now + took / WRITING_SHARE


def complete_row(study: str, trial: int, point: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what only the driver knows."""
    return {
        "study": study,
        "trial": trial,
        "point": point,
        "repeat": 0,
        "derived_from": None if point == 0 else 0,
        "versions": _versions(),
        **row,
    }


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as in the journal, made one of the results file: its configuration spread over columns, times as times."""
    times = {name: datetime.fromisoformat(row[name]) for name in ("started", "finished") if row.get(name)}
    paths = {f"{CONFIG_PREFIX}{path}": value for path, value in flatten(json.loads(row["config"])).items()}
    return {**paths, **row, **times}


@functools.cache
def _versions() -> str:
    packages = ("imer_ray", "torch", "ray", "optuna", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a plain checkout on the path
            continue
    return json.dumps(found)

"""What ran where in a search, kept in ``timeline.parquet`` over all the commands that continued it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imer_ray.results.timeline import FILE_NAME, LOST, RUNNING, read_timeline, write_timeline
from imer_ray.stages.client import Client
from imer_ray.stages.timeline import Changes

LEAST_SECONDS = 5.0  # between two writings
WRITING_SHARE = 0.01  # of the time, at most, goes into writing
MAX_CURVES = 1000  # stages whose curves are remembered, for trials that share them


class Timeline:
    """Follows a broker.

    Args:
        folder: the study's.
        study: its name.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._path = folder / FILE_NAME
        self._study = study
        self._rows: dict[str, dict[str, Any]] = {row["run"]: row for row in read_timeline(self._path)}
        self._lose_running()
        self._curves: OrderedDict[str, dict[int, dict[str, float]]] = OrderedDict()
        self._changed = False
        self._next = 0.0
        self._broker, self._revision = "", 0  # what to ask the broker with

    def take(self, changes: Changes) -> None:
        """Take in what is new."""
        if changes.broker != self._broker:
            self._lose_running()  # with the broker before, or the driver
        for run in changes.runs:
            self._rows[run.run] = dict(vars(run))
        for key, epoch, metrics in changes.reports:
            self._curves.setdefault(key, {})[epoch] = metrics
            self._curves.move_to_end(key)
        while len(self._curves) > MAX_CURVES:
            self._curves.popitem(last=False)
        self._changed |= changes.revision != self._revision or changes.broker != self._broker
        self._broker, self._revision = changes.broker, changes.revision

    @property
    def runs(self) -> Iterable[dict[str, Any]]:
        """One row for each run of a stage, as in the file."""
        return self._rows.values()

    def curves(self, stages: dict[str, str]) -> dict[str, dict[int, dict[str, float]]]:
        """stage name -> epoch -> metrics, of the stages (name -> key) that told of their epochs."""
        for key in stages.values():
            if key in self._curves:
                self._curves.move_to_end(key)
        return {name: dict(self._curves[key]) for name, key in stages.items() if key in self._curves}

    def write(self, last: bool = False) -> None:
        """Write the file if there is something new and the last time was long enough ago, or if it is the ``last``."""
        now = time.monotonic()
        if self._changed and (last or now >= self._next):
            write_timeline(self._path, self._rows.values(), self._study)
            self._changed = False
            self._next = now + max(LEAST_SECONDS, (time.monotonic() - now) / WRITING_SHARE)

    def follow(self, client: Client) -> None:
        """Ask the broker what is new."""
        self.take(client.changes(self._broker, self._revision))

    def _lose_running(self) -> None:
        for row in self._rows.values():
            if row["status"] == RUNNING:
                row["status"] = LOST

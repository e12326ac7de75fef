"""What the driver does beside running trials: results, timeline, loggers and what is on the screen."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from typing import Any

from ray import tune

from imer_ray.stages.client import Client
from imer_ray.stages.store import Store
from imer_ray.tuning.loggers._background import Log
from imer_ray.tuning.monitor.display import Display
from imer_ray.tuning.monitor.first_point import FirstPoint
from imer_ray.tuning.monitor.progress import Progress, Tally
from imer_ray.tuning.monitor.time_left import TimeLeft
from imer_ray.tuning.monitor.timeline import Timeline
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.results_file import ResultsFile

FOLLOW_SECONDS = 2.0  # between two questions to the broker


class StudyCallback(tune.Callback):
    """After each of Tune's steps."""

    def __init__(self, plan: Plan, record: Record, client: Client) -> None:
        self._record, self._client, self._num_trials = record, client, plan.info.num_trials
        self._results = ResultsFile(plan, record)
        self._timeline = Timeline(plan.folder, plan.info.study)
        self._tally = Tally(plan.info)
        first = next(iter(record.ahead(1).values()), [dict(plan.base)])[0]
        self._first = None if record.rows else FirstPoint(plan.final_stage(first), Store(plan.stages))
        self._time_left = TimeLeft(len(record.finished))
        self._log = Log(plan.options.study.loggers, plan.folder, plan.info, record.rows)
        self._logged = len(record.history)
        self._next = time.monotonic() + FOLLOW_SECONDS
        self._display = Display()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._results.update()
        now = time.monotonic()
        self._time_left.note(len(self._record.finished), now)
        if now >= self._next:
            self._follow()
        if self._display.due:
            self._display.show(self._progress(), self._client.stats())

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._follow()
        self._display.show(replace(self._progress(), seconds_left=None), last=True)

    def close(self) -> None:
        """However the search ended: finish what is being written."""
        self._display.close()
        self._timeline.write(last=True)
        self._log.close()

    def _follow(self) -> None:
        """Ask the broker what is new, and pass on the trials that have ended."""
        self._timeline.follow(self._client)
        self._timeline.write()
        if self._first is not None:
            self._first.follow(self._timeline.runs)
        new, self._logged = self._record.history[self._logged :], len(self._record.history)
        for _, rows in itertools.groupby(new, key=lambda row: row["trial"]):
            of_trial = list(rows)
            self._log.trial(of_trial, self._timeline.curves(json.loads(of_trial[0].get("stages") or "{}")))
        if new:
            self._log.progress(self._progress())
        self._next = time.monotonic() + FOLLOW_SECONDS

    def _progress(self) -> Progress:
        self._tally.count(self._record.history)
        running = self._record.running
        left = self._time_left.seconds(self._num_trials - len(self._record.finished), len(running), time.monotonic())
        if self._record.rows:
            self._first = None
        return self._tally.progress(running, left, "" if self._first is None else str(self._first))

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles all it is given at the start, for a restore that we never ask for."""
        return {}

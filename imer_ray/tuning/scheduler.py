"""Ray Tune's side of a scheduler: trials start in the order in which they were proposed, and some are stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from imer_ray.tuning.schedulers import Progress, Scheduler
from imer_ray.tuning.standing import STANDING


class StudyScheduler(TrialScheduler):
    """Asks a `Scheduler` about every report of a trial's standing.

    Args:
        scheduler: decides.
        speed: the second objective from the metrics of a stage `cost`, or None if they do not have it.
        estimate: something like it from the values of the searched paths.

    Attributes:
        stopped: Tune's names of the trials that were stopped.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        speed: Callable[[Mapping[str, float]], float | None],
        estimate: Callable[[Mapping[str, Any]], float],
    ) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._speed = speed
        self._estimate = estimate
        self._estimates: dict[int, float] = {}
        self.stopped: set[str] = set()

    def learn(self, trial: int, values: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Take note of a trial of an earlier run by its own row."""
        if row.get("rungs"):
            found = {name: {int(k): v for k, v in at.items()} for name, at in json.loads(row["rungs"]).items()}
            self._scheduler.learn(self._progress(trial, values, found, (), row.get("objective.speed")))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if STANDING not in result:
            return str(TrialScheduler.CONTINUE)
        standing = json.loads(result[STANDING])
        found = {name: {int(k): v for k, v in at.items()} for name, at in standing["compared"].items()}
        progress = self._progress(
            trial.config["trial"], trial.config["values"], found, standing["alone"], self._speed(standing["cost"])
        )
        if not found or self._scheduler.goes_on(progress):
            return str(TrialScheduler.CONTINUE)
        self.stopped.add(trial.trial_id)
        return str(TrialScheduler.STOP)

    def _progress(
        self,
        trial: int,
        values: Mapping[str, Any],
        found: Mapping[str, Mapping[int, float]],
        alone: Any,
        speed: float | None,
    ) -> Progress:
        if trial not in self._estimates:
            self._estimates[trial] = self._estimate(values)
        return Progress(trial=trial, compared=found, alone=alone, speed=speed, estimated_speed=self._estimates[trial])

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        waiting = [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]
        return min(waiting, key=lambda trial: (len(trial.trial_id), trial.trial_id), default=None)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Nothing: a trial says itself how it stands."""

    on_trial_error = on_trial_remove = on_trial_add

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Nothing: what it reached stays known."""

    def debug_string(self) -> str:
        return f"{type(self._scheduler).__name__}: {len(self.stopped)} stopped"

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is needed is in the study's rows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a study is continued from its journal."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles the scheduler at the start, for a restore that we never ask for."""
        return {}

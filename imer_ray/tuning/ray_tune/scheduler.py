"""Ray Tune's side of a scheduler: trials start in the order in which they were proposed, and some are stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from imer_ray.config import plugins
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.tuning.objectives.objectives import NotMeasured, minimised
from imer_ray.tuning.schedulers import Milestone, Scheduler
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.trial.status import STANDING


class StudyScheduler(TrialScheduler):
    """Asks a `Scheduler` about every report in which a trial has something to compare.

    Args:
        scheduler: decides.
        speed: the second objective from the metrics of a stage `cost`; None if they do not have it.
        estimate: something like it, from the values of the searched paths.
        leave: what is done for a trial of this number that is stopped.

    Attributes:
        stopped: Tune's names of the trials that were stopped.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        speed: Callable[[Mapping[str, float]], float | None],
        estimate: Callable[[Mapping[str, Any]], float],
        leave: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._speed = speed
        self._estimate = estimate
        self._leave = leave
        self._estimates: dict[int, float] = {}
        self.stopped: set[str] = set()

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which trainings are to be compared."""
        return self._scheduler.rungs

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        standing = json.loads(result.get(STANDING, "{}"))
        if not standing.get("compared"):
            return str(TrialScheduler.CONTINUE)
        number, speed = trial.config["trial"], self._speed(standing["cost"])
        if number not in self._estimates:
            self._estimates[number] = self._estimate(trial.config["values"])
        progress = _progress(number, standing["compared"], standing["alone"], speed, self._estimates[number])
        if self._scheduler.goes_on(progress):
            return str(TrialScheduler.CONTINUE)
        self.stopped.add(trial.trial_id)
        self._leave(number)
        return str(TrialScheduler.STOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        waiting = [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]
        return min(waiting, key=lambda trial: (len(trial.trial_id), trial.trial_id), default=None)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Nothing: a trial says itself how it stands."""

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Nothing: what it reached stays known."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Nothing: it reached no rung."""

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Nothing: what it reached stays known."""

    def debug_string(self) -> str:
        return f"{type(self._scheduler).__name__}: {len(self.stopped)} trials stopped"

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study is continued from its rows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a study is continued from its rows."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles the scheduler at the start, for a restore that we never ask for."""
        return {}


def study_scheduler(plan: Plan, record: Record, leave: Callable[[int], None]) -> StudyScheduler:
    """The scheduler that a study's settings choose. It knows what the study's trials reached in earlier runs."""
    study = plan.options.study
    scheduler: Scheduler = plugins.module("imer_ray.tuning.schedulers", study.scheduler).build(study)
    _, speed_objective = plan.objectives
    for row in record.rows:
        if row["point"] == 0 and row.get("rungs"):
            speed, estimate = row.get(speed_objective.column), _estimated_speed(json.loads(row["config"]))
            scheduler.learn(_progress(row["trial"], json.loads(row["rungs"]), (), speed, estimate))

    def speed_of(cost: Mapping[str, float]) -> float | None:
        try:
            return minimised(cost, [speed_objective])[0]
        except NotMeasured:
            return None

    def estimate_of(values: Mapping[str, Any]) -> float:
        return _estimated_speed(plan.configurations.build(values))

    return StudyScheduler(scheduler, speed_of, estimate_of, leave)


def _estimated_speed(config: Mapping[str, Any]) -> float:
    """log10(1 + NFE): what is known of a trial's speed before its cost is measured."""
    from imer_ray.evaluation.predict import num_evaluations

    return math.log10(1 + num_evaluations(typed(config, ExperimentConfig)))


def _progress(
    trial: int,
    compared: Mapping[str, Mapping[str, float]],
    alone: Sequence[str],
    speed: float | None,
    estimated_speed: float,
) -> Milestone:
    """From JSON, whose keys are text."""
    found = {name: {int(epoch): value for epoch, value in at.items()} for name, at in compared.items()}
    return Milestone(trial=trial, compared=found, alone=alone, speed=speed, estimated_speed=estimated_speed)

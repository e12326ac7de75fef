"""Ray Tune's side of a scheduler: trials start in the order in which they were proposed, and some are stopped."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from imer_ray.config import plugins
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.results.schema import COSTS
from imer_ray.tuning.objectives.objectives import NotMeasured, is_cost, minimised
from imer_ray.tuning.schedulers import Milestone, Scheduler
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.trial.status import STANDING

Costs = tuple[float | None, ...] | None


class StudyScheduler(TrialScheduler):
    """Asks a `Scheduler` about every report in which a trial has something to compare.

    Args:
        scheduler: decides.
        costs: the objectives but the first from the metrics of a stage `cost` (None for what is no cost); None if they
            are not measured.
        estimate: something like it, from the values of the searched paths.
        leave: what is done for a trial of this number that is stopped.
        ended: the trials that are complete since it was last called, with the objectives of their points.

    Attributes:
        stopped: Tune's names of the trials that were stopped.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        costs: Callable[[Mapping[str, float]], Costs],
        estimate: Callable[[Mapping[str, Any]], float],
        leave: Callable[[int], None],
        ended: Callable[[], Iterable[tuple[int, Sequence[Sequence[float]]]]] = tuple,
    ) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._costs = costs
        self._ended = ended
        self._estimate = estimate
        self._leave = leave
        self._estimates: dict[int, float] = {}
        self.stopped: set[str] = set()

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which trainings are to be compared."""
        return self._scheduler.rungs

    def resumed(self, is_last: bool) -> int | None:
        """Which of the stopped trials goes on, when a slot is free."""
        self._take_in()
        return self._scheduler.resumed(is_last)

    def _take_in(self) -> None:
        for trial, points in self._ended():
            self._scheduler.ended(trial, points)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        standing = json.loads(result.get(STANDING, "{}"))
        if not standing.get("compared"):
            return str(TrialScheduler.CONTINUE)
        self._take_in()
        number, costs = trial.config["trial"], self._costs(standing["cost"])
        if number not in self._estimates:
            self._estimates[number] = self._estimate(trial.config["values"])
        progress = _progress(number, standing["compared"], standing["alone"], costs, self._estimates[number])
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
    _, *others = plan.objectives
    seen = 0

    def costs_of(cost: Mapping[str, float]) -> Costs:
        try:
            return tuple(minimised(cost, [other])[0] if is_cost(other) else None for other in others)
        except NotMeasured:
            return None

    for row in record.rows:
        if row["point"] == 0 and row.get("rungs"):
            known = {name: row[name] for name in COSTS if row.get(name) is not None}
            estimate, is_stopped = _estimated_speed(json.loads(row["config"])), row["status"] == "stopped"
            rungs = json.loads(row["rungs"])
            scheduler.learn(_progress(row["trial"], rungs, (), costs_of(known), estimate, is_stopped))

    def ended() -> Iterator[tuple[int, Sequence[Sequence[float]]]]:
        nonlocal seen
        new, seen = record.history[seen:], len(record.history)
        for trial, rows in itertools.groupby(new, key=lambda row: int(row["trial"])):
            kept = [row for row in rows if row["status"] == "complete" and row.get("feasible") is not False]
            if kept and kept[0]["point"] == 0:
                yield trial, [[row[objective.column] for objective in plan.objectives] for row in kept]

    def estimate_of(values: Mapping[str, Any]) -> float:
        return _estimated_speed(plan.configurations.build(values))

    return StudyScheduler(scheduler, costs_of, estimate_of, leave, ended)


def goes_on(plan: Plan, record: Record) -> bool:
    """Whether a trial that was stopped early goes on when nothing new is to be proposed: a driver may have died before
    it came to that."""
    return study_scheduler(plan, record, lambda trial: None).resumed(is_last=True) is not None


def _estimated_speed(config: Mapping[str, Any]) -> float:
    """log10(1 + NFE): what is known of a trial's speed before its cost is measured."""
    from imer_ray.evaluation.predict import num_evaluations

    return math.log10(1 + num_evaluations(typed(config, ExperimentConfig)))


def _progress(
    trial: int,
    compared: Mapping[str, Mapping[str, float]],
    alone: Sequence[str],
    costs: Costs,
    estimated_speed: float,
    stopped: bool = False,
) -> Milestone:
    """From JSON, whose keys are text."""
    found = {name: {int(epoch): value for epoch, value in at.items()} for name, at in compared.items()}
    return Milestone(
        trial=trial, compared=found, alone=alone, costs=costs, estimated_speed=estimated_speed, stopped=stopped
    )

"""What every scheduler must do, whatever is reported to it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, ClassVar

from imer_ray.config.commands import StudyConfig
from imer_ray.tuning.schedulers import Milestone, Scheduler

KIND = "recognise"
NUM_EXAMPLES = 100  # of reports, each from a seed of its own

Report = tuple[int, int, float, float]
"""Trial, epoch, loss and speed."""


def at(trial: int, epoch: int, loss: float, speed: float | None = 1.0, alone: tuple[str, ...] = (KIND,)) -> Milestone:
    """A trial after an epoch of its training."""
    costs = None if speed is None else (speed,)
    return Milestone(trial=trial, compared={KIND: {epoch: loss}}, alone=alone, costs=costs, estimated_speed=0.0)


def examples(num_trials: int = 6, most: int = 40) -> Iterator[list[Report]]:
    """Reports in any order, of which many are equal."""
    for seed in range(NUM_EXAMPLES):
        numbers = random.Random(seed)
        yield [
            (
                numbers.randrange(num_trials),
                numbers.randint(1, 30),
                float(numbers.randrange(10)),
                float(numbers.randrange(10)),
            )
            for _ in range(numbers.randint(0, most))
        ]


class SchedulerContract:
    """Tests of ``scheduler``, a module with ``build(study)`` (`imer_ray.tuning.schedulers`)."""

    scheduler: ClassVar[Any]

    def built(self, **settings: Any) -> Scheduler:
        """The scheduler that a study with these settings has."""
        built: Scheduler = self.scheduler.build(StudyConfig(**settings))
        return built

    def test_no_trial_is_stopped_while_it_waits_for_others(self) -> None:
        for reports in examples():
            scheduler = self.built()
            for trial, epoch, loss, speed in reports:
                assert scheduler.goes_on(at(trial, epoch, loss, speed, alone=()))

    def test_a_trial_without_rivals_is_never_stopped(self) -> None:
        for seed in range(NUM_EXAMPLES):
            numbers, scheduler, epochs = random.Random(seed), self.built(), list(range(1, 30))
            numbers.shuffle(epochs)
            loss = float(numbers.randrange(10))
            for epoch in epochs:
                assert scheduler.goes_on(at(0, epoch, loss))

    def test_whoever_beats_all_before_it_goes_on(self) -> None:
        for reports in examples(most=12):
            scheduler = self.built()
            for trial, (_, _, loss, speed) in enumerate(reports):
                scheduler.goes_on(at(trial, 3, loss, speed))
            assert scheduler.goes_on(at(len(reports), 3, -1.0, -1.0))

    def test_whoever_is_resumed_was_stopped_and_is_so_once(self) -> None:
        for reports in examples(num_trials=9):
            scheduler = self.built()
            stopped: set[int] = set()
            for trial, epoch, loss, speed in reports:
                if trial not in stopped and not scheduler.goes_on(at(trial, epoch, loss, speed)):
                    stopped.add(trial)
                while (resumed := scheduler.resumed(False)) is not None:
                    stopped.remove(resumed)
            while (resumed := scheduler.resumed(True)) is not None:
                stopped.remove(resumed)

    def test_the_same_reports_give_the_same_decisions(self) -> None:
        for reports in examples(num_trials=9):
            first, second = self.built(brackets=2), self.built(brackets=2)
            for trial, epoch, loss, speed in reports:
                milestone = at(trial, epoch, loss, speed)
                assert first.goes_on(milestone) == second.goes_on(milestone)

"""Schedulers: each file builds one way to decide which trials go on and which are stopped early.

A scheduler offers ``build(study) -> Scheduler`` from a study's settings. It knows nothing of Ray; Tune asks it through
`imer_ray.tuning.ray_tune.scheduler.StudyScheduler`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """How a trial stands.

    Attributes:
        trial: its number in the study.
        compared: kind of stage -> epoch -> what its trainings are compared by (`imer_ray.stages.rungs`), lower is
            better, after each of the rungs that the trial has reached.
        alone: those of ``compared`` whose stage runs now, and for this trial only. By a stage that others wait for,
            too, or that was found, no trial is judged: to stop it would save nothing. It counts as having been there.
        costs: the study's second objective and further ones, once the costs are measured; None for what is no cost.
        estimated_speed: in another unit, known from the configuration alone.
        stopped: whether it was stopped there, by an earlier run.
    """

    trial: int
    compared: Mapping[str, Mapping[int, float]]
    alone: Sequence[str] = ()
    costs: tuple[float | None, ...] | None = None
    estimated_speed: float = 0.0
    stopped: bool = False


class Scheduler(Protocol):
    """Which trials go on.

    Attributes:
        rungs: the epochs after which it wants to compare trainings.
    """

    @property
    def rungs(self) -> tuple[int, ...]: ...

    def learn(self, milestone: Milestone) -> None:
        """Take note of a trial that is not to be judged, such as one of an earlier run."""
        ...

    def ended(self, trial: int, points: Sequence[Sequence[float]]) -> None:
        """A trial is complete, with these objectives of its own point and of its further points."""
        ...

    def goes_on(self, milestone: Milestone) -> bool:
        """Take note of a trial, and say whether it goes on; if not, it is paused. It is not asked about again until it
        is resumed."""
        ...

    def resumed(self, is_last: bool) -> int | None:
        """A slot is free: the paused trial that goes on now, from where it stood, or None.

        Args:
            is_last: whether nothing new is to be proposed. Then trials that nobody resumes stay stopped.
        """
        ...

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
        speed: the study's second objective, once it is measured.
        estimated_speed: in another unit, known from the configuration alone.
    """

    trial: int
    compared: Mapping[str, Mapping[int, float]]
    alone: Sequence[str] = ()
    speed: float | None = None
    estimated_speed: float = 0.0


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

    def goes_on(self, milestone: Milestone) -> bool:
        """Take note of a trial, and say whether it goes on. Once stopped, a trial is not asked about again."""
        ...

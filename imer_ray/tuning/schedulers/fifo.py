"""Every trial runs to its end, first come, first served."""

from __future__ import annotations

from collections.abc import Sequence

from imer_ray.config.commands import StudyConfig
from imer_ray.tuning.schedulers import Milestone


class FIFO:
    rungs: tuple[int, ...] = ()

    def learn(self, milestone: Milestone) -> None:
        """Nothing: it compares no trials."""

    def ended(self, trial: int, points: Sequence[Sequence[float]]) -> None:
        """Nothing: it stops none."""

    def resumed(self, is_last: bool) -> int | None:
        return None

    def goes_on(self, milestone: Milestone) -> bool:
        return True


def build(study: StudyConfig) -> FIFO:
    return FIFO()

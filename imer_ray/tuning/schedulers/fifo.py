"""Every trial runs to its end, first come, first served."""

from __future__ import annotations

from imer_ray.config.commands import StudyConfig
from imer_ray.tuning.schedulers import Milestone


class FIFO:
    rungs: tuple[int, ...] = ()

    def learn(self, milestone: Milestone) -> None:
        """Nothing: it compares no trials."""

    def goes_on(self, milestone: Milestone) -> bool:
        return True


def build(study: StudyConfig) -> FIFO:
    return FIFO()

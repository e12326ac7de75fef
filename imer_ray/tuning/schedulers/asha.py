"""Asynchronous successive halving of two objectives: at each rung the best in ``reduction_factor`` go on.

Fidelity is epochs of the training stage that runs, and the two values of a trial at a rung are how that stage compares
and the trial's speed, which does not depend on training. Stopping is as in Li et al., 2020, arXiv:1810.05934, without
waiting for a rung to fill up; who is best is decided as in Schmucker et al., 2021, arXiv:2106.12639, by non-domination
rank and then by diversity. See `imer_ray.tuning.schedulers._halving`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from imer_ray.config.commands import StudyConfig
from imer_ray.tuning.schedulers import Milestone
from imer_ray.tuning.schedulers._halving import brackets, rungs, survives

Rung = tuple[int, str, int]  # bracket, what is compared, after how many epochs


class ASHA:
    """Each trial is judged once at each of its bracket's rungs, among all that have reached it, the stopped included.

    Speeds are compared as they were measured where that is known of all of them, or else as they are estimated.
    """

    def __init__(self, grace_epochs: int, reduction_factor: float, num_brackets: int = 1) -> None:
        self.rungs = rungs(grace_epochs, reduction_factor)
        self._reduction_factor = reduction_factor
        self._next_bracket = brackets(num_brackets, reduction_factor)
        self._brackets: list[int] = []
        self._reached: dict[Rung, dict[int, float]] = defaultdict(dict)
        self._judged: set[tuple[int, Rung]] = set()
        self._speeds: dict[int, tuple[float | None, float]] = {}

    def learn(self, milestone: Milestone) -> None:
        self._speeds[milestone.trial] = (milestone.speed, milestone.estimated_speed)
        for rung, value in self._rungs(milestone):
            self._reached[rung].setdefault(milestone.trial, value)

    def goes_on(self, milestone: Milestone) -> bool:
        self.learn(milestone)
        for rung, _ in self._rungs(milestone):
            if rung[1] in milestone.alone and (milestone.trial, rung) not in self._judged:
                self._judged.add((milestone.trial, rung))
                if not self._survives(milestone.trial, self._reached[rung]):
                    return False
        return True

    def _rungs(self, milestone: Milestone) -> list[tuple[Rung, float]]:
        """Those that the trial has reached and its bracket has, the lowest first."""
        bracket = self._bracket(milestone.trial)
        own = self.rungs[bracket:]
        found = [
            ((bracket, name, epoch), value)
            for name, values in milestone.compared.items()
            for epoch, value in values.items()
            if epoch in own
        ]
        return sorted(found, key=lambda reached: reached[0][2])

    def _bracket(self, trial: int) -> int:
        while len(self._brackets) <= trial:
            self._brackets.append(next(self._next_bracket))
        return self._brackets[trial]

    def _survives(self, newcomer: int, reached: Mapping[int, float]) -> bool:
        trials = list(reached)
        measured = [self._speeds[trial][0] for trial in trials]
        known = [speed for speed in measured if speed is not None]
        speeds = known if len(known) == len(trials) else [self._speeds[trial][1] for trial in trials]
        points = [(reached[trial], speed) for trial, speed in zip(trials, speeds, strict=True)]
        return survives(points, trials.index(newcomer), self._reduction_factor)


def build(study: StudyConfig) -> ASHA:
    return ASHA(study.grace_epochs, study.reduction_factor, study.brackets)

"""Asynchronous successive halving of several objectives: at each rung the best in ``reduction_factor`` go on.

Fidelity is epochs of the training stage that runs, and the values of a trial at a rung are how that stage compares, and
the trial's costs, which do not depend on training. As in Li et al., 2020, arXiv:1810.05934, algorithm 2, no trial waits
for a rung to fill up; who is not among the best is paused there, and goes on once it is, before anything new is
proposed. Who is best is decided as in Schmucker et al., 2021, arXiv:2106.12639, by non-domination rank and then by
diversity (`imer_ray.tuning.schedulers._halving`).

A trial whose outlook is beaten already (`imer_ray.tuning.schedulers._reach`) is paused whatever its rank; and when
nothing new is to be proposed, those paused go on whose outlook is not, the best of their rung first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from imer_ray.config.commands import StudyConfig
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.schedulers import Milestone
from imer_ray.tuning.schedulers._halving import brackets, order, rungs, survives
from imer_ray.tuning.schedulers._reach import Reach

LEAST_GAIN = 0.0005  # of the hypervolume, that is worth going on for
Rung = tuple[int, str, int]  # bracket, what is compared, after how many epochs


class ASHA:
    """Each trial is judged once at each of its bracket's rungs, among all that have reached it, the paused included.

    Costs are compared as they were measured where that is known of all trials, or else speeds as they are estimated.
    """

    def __init__(
        self, grace_epochs: int, reduction_factor: float, num_brackets: int = 1, reference: Sequence[float] = (0, 0)
    ) -> None:
        self.rungs = rungs(grace_epochs, reduction_factor)
        self._reduction_factor = reduction_factor
        self._next_bracket = brackets(num_brackets, reduction_factor)
        self._brackets: list[int] = []
        self._reached: dict[Rung, dict[int, float]] = defaultdict(dict)
        self._judged: set[tuple[int, Rung]] = set()
        self._costs: dict[int, tuple[tuple[float | None, ...] | None, float]] = {}
        self._paused: dict[int, Rung] = {}
        self._reach = Reach(reference)
        self._is_last = False
        self._waiting: bool | None = None

    def learn(self, milestone: Milestone) -> None:
        trial, self._waiting = milestone.trial, None
        self._costs[trial] = (milestone.costs, milestone.estimated_speed)
        reached = self._rungs(milestone)
        for rung, value in reached:
            self._reached[rung].setdefault(trial, value)
        if milestone.stopped and reached:
            self._paused[trial] = reached[-1][0]
            self._judged |= {(trial, rung) for rung, _ in reached}

    def ended(self, trial: int, points: Sequence[Sequence[float]]) -> None:
        self._waiting = None
        self._reach.ended(trial, points)

    def goes_on(self, milestone: Milestone) -> bool:
        self.learn(milestone)
        trial = milestone.trial
        for rung, _ in self._rungs(milestone):
            if rung[1] in milestone.alone and (trial, rung) not in self._judged:
                self._judged.add((trial, rung))
                (gain,) = self._gains([trial], rung)
                if gain < LEAST_GAIN or not (self._is_last or self._survives(trial, rung)):
                    self._paused[trial] = rung
                    return False
        return True

    def resumed(self, is_last: bool) -> int | None:
        if self._waiting == is_last:  # nothing has happened since there was none
            return None
        self._is_last = is_last
        found: list[tuple[float, int]] = []
        for rung in sorted(set(self._paused.values()), key=lambda rung: (-rung[2], rung)):
            trials, points = self._points(self._reached[rung])
            paused = [trials[i] for i in order(points) if self._paused.get(trials[i]) == rung]
            for trial, gain in zip(paused, self._gains(paused, rung), strict=True):
                if gain >= LEAST_GAIN and (is_last or self._survives(trial, rung)):
                    found.append((gain, trial))
        if not found:
            self._waiting = is_last
            return None
        _, trial = max(found, key=lambda each: each[0])  # of equal ones the first: the highest rung, the best in it
        del self._paused[trial]
        return trial

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

    def _survives(self, trial: int, rung: Rung) -> bool:
        trials, points = self._points(self._reached[rung])
        return survives(points, trials.index(trial), self._reduction_factor)

    def _gains(self, trials: Sequence[int], rung: Rung) -> list[float]:
        """What trials at a rung can be expected to add; anything while that is not known."""
        everywhere = {  # the line is of a training's epochs, whatever its bracket
            other: value
            for (_, name, epoch), values in self._reached.items()
            if (name, epoch) == rung[1:]
            for other, value in values.items()
        }
        known = {trial: costs for trial in trials if (costs := self._costs[trial][0]) is not None}
        values = [everywhere[trial] for trial in known]
        gains = self._reach.gains(values, list(known.values()), everywhere) if known else None
        foretold = dict.fromkeys(trials, math.inf) | ({} if gains is None else dict(zip(known, gains, strict=True)))
        return [float(foretold[trial]) for trial in trials]

    def _points(self, reached: Mapping[int, float]) -> tuple[list[int], list[tuple[float, ...]]]:
        trials = list(reached)
        measured = [self._costs[trial][0] for trial in trials]
        known = [tuple(cost for cost in costs if cost is not None) for costs in measured if costs is not None]
        costs = known if len(known) == len(trials) else [(self._costs[trial][1],) for trial in trials]
        return trials, [(reached[trial], *of) for trial, of in zip(trials, costs, strict=True)]


def build(study: StudyConfig) -> ASHA:
    reference = [objective.reference for objective in objectives(study.quality, study.speed, study.also)]
    return ASHA(study.grace_epochs, study.reduction_factor, study.brackets, reference)

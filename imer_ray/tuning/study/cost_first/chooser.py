"""Which configuration is tried next: of several whose cost is known, the one with the largest expected gain."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from imer_ray.errors import UserError
from imer_ray.results.improvement import expected_improvement
from imer_ray.results.proposals import COST_FIRST
from imer_ray.results.schema import COSTS, Objective
from imer_ray.tuning.objectives.constraints import Constraint
from imer_ray.tuning.objectives.objectives import NotMeasured, minimised
from imer_ray.tuning.searchers import ANSWERED, DERIVED, FIDELITY, ORIGIN
from imer_ray.tuning.searchers._candidates import candidates
from imer_ray.tuning.searchers._encoding import Encoding
from imer_ray.tuning.searchers._gaussian_process import GaussianProcess, one_thread
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.searchers._window import NUM_BEST, window
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study.cost_first import NotYet

Values = Mapping[str, Any]
Cost = Mapping[str, float]
MAX_MEASURED = 256  # of one proposal, after which nothing is taken to keep the constraints


class Measure(Protocol):
    """Measures what configurations cost."""

    def __call__(self, configurations: Sequence[Values]) -> list[Cost | None]:
        """The metrics of each configuration's stage `cost`; None where it cannot be measured before training.

        Raises:
            NotYet: they are being measured.
        """


class CostFirst:
    """Chooses proposals by what they cost.

    After the searcher's start-up, candidates are drawn (`imer_ray.tuning.searchers._candidates`), and Gaussian
    processes of the trials so far predict their quality and speed. Of the ``num_measured`` most promising new ones the
    cost is measured, and the one with the largest `expected_improvement` at its own speed is proposed. Trials that run
    count as if they were as good as predicted (Ginsbourger et al., 2010), so that slots are not filled with the same.
    The same seed, trials and costs give the same proposal.

    Args:
        space, objectives: what is searched, and for what.
        constraints: of the study; those on costs are kept by every configuration that is proposed.
        measure: tells costs.
        num_measured: candidates of a proposal.
        num_startup: trials that ended whole before which the searcher proposes, unless there are constraints on costs.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        measure: Measure,
        num_measured: int,
        num_startup: int,
    ) -> None:
        self._space, self._measure = space, measure
        _, self._speed = objectives
        self._reference = np.array([objective.reference for objective in objectives])
        self._limits = [constraint for constraint in constraints if constraint.column in COSTS]
        self._num_measured, self._num_startup = num_measured, num_startup

    def choose(
        self, study: Study, seed: int, is_new: Callable[[Values], bool], configure: Callable[[Values], Values]
    ) -> Values | None:
        """The next configuration's values, or None: the searcher shall propose.

        Raises:
            NotYet: costs are being measured.
            UserError: no candidate keeps the constraints on costs.
        """
        rng = random.Random(seed)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        own = (trial for trial in complete if not {DERIVED, ANSWERED} & trial.user_attrs.keys())
        has_model = sum(FIDELITY not in trial.constraints for trial in own) >= self._num_startup
        if not has_model and not self._limits:
            return None
        with one_thread():
            judge = _Judge(self._space, study, self._reference) if has_model else None
            return self._chosen(study, rng, judge, is_new, configure)

    def _chosen(
        self,
        study: Study,
        rng: random.Random,
        judge: _Judge | None,
        is_new: Callable[[Values], bool],
        configure: Callable[[Values], Values],
    ) -> Values | None:
        for held in self._prefixes(study):
            good = [trial.params for trial in window(study, NUM_BEST, 0)] if judge else []
            drawn: Iterable[Values] = candidates(self._space, rng, good, held)
            new = filter(is_new, drawn if judge is None else judge.ranked(list(drawn)))
            num_measured = 0
            while batch := list(islice(new, self._num_measured)):
                costs = self._measure([configure(values) for values in batch])
                if not any(costs):  # they cannot be measured
                    return None
                if found := self._affordable(batch, costs):
                    return found[0][0] if judge is None else judge.best(found)
                if (num_measured := num_measured + len(batch)) >= MAX_MEASURED:
                    break
        if self._limits:
            texts = ", ".join(constraint.text for constraint in self._limits)
            raise UserError(f"study.constraints: no new configuration was found that keeps {texts}; relax them")
        return None

    def enqueue(
        self, study: Study, seed: int, is_new: Callable[[Values], bool], configure: Callable[[Values], Values]
    ) -> bool:
        """Have `choose`'s configuration proposed next, unless another one waits; whether there is one."""
        if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return False
        values = self.choose(study, seed, is_new, configure)
        if values is not None:
            study.enqueue_trial(dict(values), user_attrs={ORIGIN: COST_FIRST})
        return values is not None

    def turns_down(self, study: Study, trial: Trial, config: Values, left: list[FrozenTrial]) -> bool:
        """Whether a proposal, whoever made it, would break a constraint on its cost: then it has failed.

        Raises:
            NotYet: its cost is being measured; it is among those ``left`` to go on with.
        """
        if not self._limits:
            return False
        try:
            (cost,) = self._measure([config])
        except NotYet:
            left.insert(0, study.get_trials(deepcopy=False)[trial.number])
            raise
        if cost is None or self._keeps(cost):
            return False
        study.tell(trial, state=TrialState.FAIL)
        return True

    def _prefixes(self, study: Study) -> list[Values]:
        held = study.sampler.held(study) if isinstance(study.sampler, SharedPrefix) else {}
        return [held, {}] if held else [{}]

    def _keeps(self, cost: Cost) -> bool:
        try:
            return all(constraint.violation(cost) <= 0 for constraint in self._limits)
        except NotMeasured:  # by this stage; the trial will tell
            return True

    def _affordable(self, batch: Sequence[Values], costs: Sequence[Cost | None]) -> list[tuple[Values, float]]:
        """Those whose speed is known and that keep the constraints, with their minimised speed."""
        found = []
        for values, cost in zip(batch, costs, strict=True):
            try:
                speed = None if cost is None else minimised(cost, [self._speed])[0]
            except NotMeasured:
                speed = None
            if cost is None or speed is None:
                continue
            if self._keeps(cost):
                found.append((values, speed))
        return found


class _Judge:
    """What a study's trials say of candidates: a model of quality, one of speed, and the front so far."""

    def __init__(self, space: Space, study: Study, reference: NDArray[np.float64]) -> None:
        trials = window(study)
        whole = [t for t in trials if t.state == TrialState.COMPLETE and FIDELITY not in t.constraints]
        running = [trial.params for trial in trials if trial.state == TrialState.RUNNING and trial.params]
        points = np.array([trial.values for trial in whole])
        self._reference, self._encoding = reference, Encoding(space.parameters)
        x, owners = self._features([trial.params for trial in whole]), self._encoding.owners
        fitted_on = np.arange(len(whole))
        self._quality, self._speed = (GaussianProcess(x, column, owners, fitted_on) for column in points.T)
        self._front = points[[_is_feasible(trial) for trial in whole]]
        if running:
            believed = self._features(running)
            together = np.column_stack([self._quality.predict(believed)[0], self._speed.predict(believed)[0]])
            self._front = np.concatenate([self._front, together])

    def ranked(self, drawn: Sequence[Values]) -> Iterable[Values]:
        """The most promising first, by predicted quality and predicted speed."""
        gains = self._gains(drawn, self._speed.predict(self._features(drawn))[0])
        return (drawn[i] for i in np.argsort(-gains, kind="stable"))

    def best(self, found: Sequence[tuple[Values, float]]) -> Values:
        """Of configurations whose speed is known."""
        values = [each for each, _ in found]
        return values[int(np.argmax(self._gains(values, np.array([speed for _, speed in found]))))]

    def _gains(self, values: Sequence[Values], speed: NDArray[np.float64]) -> NDArray[np.float64]:
        mean, deviation = self._quality.predict(self._features(values))
        known = np.column_stack([mean, speed]), np.column_stack([deviation, np.zeros(len(values))])
        return expected_improvement(*known, self._front, self._reference)

    def _features(self, values: Sequence[Values]) -> NDArray[np.float64]:
        return self._encoding.features(self._encoding.rows(values))


def _is_feasible(trial: FrozenTrial) -> bool:
    return all(violation <= 0 for violation in trial.constraints.values())

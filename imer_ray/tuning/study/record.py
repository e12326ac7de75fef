"""A study's memory: what was proposed, what came of it, what to propose next. Optuna ask/tell over the journal; no Ray.

The journal alone is the truth: each trial's rows lie in it, so that `results.parquet` can be written anew at any time
and a driver killed at any moment loses nothing that was finished.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from imer_ray.config.tree import flatten
from imer_ray.results.proposals import SEARCHER
from imer_ray.results.schema import Objective
from imer_ray.tuning.objectives.constraints import Constraint
from imer_ray.tuning.objectives.outcome import Outcome, end, finished_trial
from imer_ray.tuning.searchers import ANSWERED, DERIVED, ORIGIN, TRIAL
from imer_ray.tuning.searchers._candidates import enqueue_new
from imer_ray.tuning.searchers._wrapper import begin
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study._optuna import FIXED, noted, taken_up
from imer_ray.tuning.study.cost_first.chooser import CostFirst
from imer_ray.tuning.study.failures import failed, may_succeed
from imer_ray.tuning.study.journal_entry import DUPLICATE, IDENTITIES, POINT, REPEAT, ROWS, SPENT
from imer_ray.tuning.study.known import Known
from imer_ray.tuning.study.points import distinct, name
from imer_ray.tuning.study.proposal import Proposal, enqueue_again, enqueue_once, proposal_seed, queued, reopen
from imer_ray.tuning.study.sense import check_values, making_sense_of
from imer_ray.tuning.study.warm_start import Lessons, sources


class Record:
    """What a study knows.

    Args:
        study: opened from its journal.
        sync: has the journal on the disk.
        space: what is searched.
        objectives: what is minimised.
        constraints: what a point must keep to be on the front.
        configure: the resolved configuration of some values.
        identify: equal for configurations that would give the same results. One that is known is not run again: its
            results answer whoever proposes it.
        code: see `Known`.
        build_sampler: makes the sampler from a seed. It is made anew for each proposal, so that a proposal depends on
            the seed, its trial's number and the trials before it, and not on how often the driver was killed meanwhile.
        seed: of the proposals.

    Raises:
        SenselessTrial: the journal has something to take up that cannot be.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        sync: Callable[[], None],
        space: Space,
        objectives: Sequence[Objective],
        configure: Callable[[Mapping[str, Any]], dict[str, Any]],
        identify: Callable[[Mapping[str, Any]], str],
        build_sampler: Callable[[int], BaseSampler],
        seed: int,
        constraints: Sequence[Constraint] = (),
        code: str | None = None,
    ) -> None:
        self._study = study
        self._sync = sync
        self._space = space
        self.objectives = objectives
        self._outcome = Outcome(objectives=objectives, constraints=constraints)
        self._configure = configure
        self._known = Known(identify, configure, code)
        self._build_sampler = build_sampler
        self._seed = seed
        self._running: dict[int, Trial] = {}
        self._left: list[FrozenTrial] = []  # that a killed driver left running
        self._next = 0
        self._duplicates = 0  # known proposals so far in the next trial's place
        self.rows: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []  # the rows as they were told, those of trials that ran again, too
        self.repeats: list[dict[str, Any]] = []
        self.finished: set[int] = set()
        self.cost_first: CostFirst | None = None  # set where costs can be measured; then it has the first say
        study.sampler = RandomSampler()  # whom Optuna asks when a trial is opened again; it has nothing to say
        self._recover()

    @property
    def points(self) -> list[dict[str, Any]]:
        """The rows, each configuration once; see `imer_ray.tuning.study.points`."""
        return distinct(self.rows, self._known.of_point)

    @property
    def results(self) -> list[dict[str, Any]]:
        """All rows of results.parquet."""
        points = self.points
        names = set(map(name, points))
        return points + [row for row in self.repeats if name(row) in names]

    @property
    def running(self) -> list[int]:
        """The numbers of the trials that have not ended."""
        return list(self._running)

    @property
    def num_configurations(self) -> int:
        """How many configurations of the space have results."""
        inside = (row for row in self.rows if self._space.locate(flatten(json.loads(row["config"]))) is not None)
        return len({self._known.of_point[name(row)] for row in inside})

    def enqueue(self, points: Sequence[Mapping[str, Any]]) -> int:
        """Propose these first, in this order; each once in a study's life, however often resumed. How many are new."""
        return enqueue_once(self._study, points)

    def learn(self, lessons: Lessons) -> None:
        """Have the sampler know another study's results. They are none of this study's, and do not keep it from running
        the same."""
        self.enqueue(lessons.points)
        lessons.teach(self._study, self._space, self._outcome)

    def retry_failed(self) -> int:
        """Propose the failed trials again that may succeed; their rows are replaced when they end. Returns how many.

        Optuna keeps both: the trial that failed, and the one that runs in its place.
        """
        of_number = {trial.user_attrs.get(TRIAL): trial for trial in self._study.get_trials(deepcopy=False)}
        again = set()
        for row in filter(may_succeed, failed(self.rows)):
            if self._known.forget_failed(row):
                again.add(row["trial"])
                enqueue_again(self._study, of_number[row["trial"]])
        self._forget(again)
        return len(again)

    def resume(self, trial: int) -> Proposal:
        """Go on with a stopped trial under its number, as `retry_failed` does; it has no row until it ends again."""
        identity = self._known.of_point[trial, 0]
        self._forget({trial})
        again = reopen(self._study, trial)
        values = self._space.suggest(again)
        return self._accept(again, identity, self._configure(values), values)

    @property
    def learnt_from(self) -> list[str]:
        """The sources of the lessons so far."""
        return sources(self._study)

    def ask(self) -> Proposal | None:
        """The next trial, or None if every configuration of the space is known; raises as `CostFirst.choose` does."""
        while True:
            seed = proposal_seed(self._seed, self._next, self._duplicates)
            self._study.sampler = sampler = self._build_sampler(seed)
            begin(sampler, self._space, self._seed)
            first = None if self._left else self.cost_first
            chosen = first is not None and first.enqueue(self._study, seed, self._known.is_new, self._configure)
            if not chosen and self._duplicates and not self._left:
                if not enqueue_new(self._study, self._space, random.Random(seed), self._known.is_new, self._duplicates):
                    return None
            trial = taken_up(self._study, self._left.pop(0)) if self._left else self._study.ask()
            values = self._space.suggest(trial)
            config = self._configure(values)
            identity = self._known.of(values, config)
            if identity not in self._known:
                if self.cost_first is not None and self.cost_first.turns_down(self._study, trial, config, self._left):
                    continue
                return self._accept(trial, identity, config, values)
            trial.set_user_attr(DUPLICATE, self._next)
            self._answer(trial, self._known.row(identity))
            self._duplicates += 1

    def ahead(self, count: int) -> dict[int, list[dict[str, Any]]]:
        """Trial -> what its configuration may be, of the next ``count`` of which no searcher has to be asked."""
        found = queued(self._study, self._space, self._left, self._next, self._known.is_new)
        return {number: list(map(self._configure, values)) for number, values in islice(found, count)}

    def tell(self, trial: int, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The end of a trial: one row per point, the trial's own first, without objectives and status.

        A row with an error, or whose objectives were not measured, has failed; the sampler is told so if it is the
        trial's own. The other points are told as trials of their own. A trial that was stopped says so in its only
        row's ``status``, with estimates of its objectives if it has any. Returns the finished rows.
        """
        optuna_trial = self._running.pop(trial)
        proposed_by = noted(self._study, optuna_trial).get(ORIGIN)
        finished = [self._outcome.judged({**row, "proposed_by": proposed_by}) for row in rows]
        identities = self._known.of_rows(finished)
        if (identified := self._known.note(identities)) is not None:
            optuna_trial.set_user_attr(IDENTITIES, identified)
        optuna_trial.set_user_attr(ROWS, finished)
        self._sync()
        self._finish(optuna_trial, finished, identities)
        return finished

    def tell_repeat(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The end of a point's run with a further seed, which the sampler is not told of. Returns the finished row."""
        finished = self._outcome.judged(row)
        self._study.set_user_attr(f"{REPEAT} {row['trial']} {row['point']} {row['repeat']}", finished)
        self._sync()
        self.repeats.append(finished)
        return finished

    @property
    def spent(self) -> dict[str, float]:
        """What was last noted as spent."""
        return dict(self._study.user_attrs.get(SPENT, {}))

    def note_spent(self, spent: Mapping[str, float]) -> None:
        self._study.set_user_attr(SPENT, dict(spent))

    def _accept(self, trial: Trial, identity: str, config: dict[str, Any], values: Mapping[str, Any]) -> Proposal:
        number = trial.user_attrs.get(TRIAL)
        if number is None:
            number = self._next
            self._next, self._duplicates = number + 1, 0
            if ORIGIN not in noted(self._study, trial):  # a sampler may have set it
                trial.set_user_attr(ORIGIN, SEARCHER)
            trial.set_user_attr(TRIAL, number)
        self._known.begin(identity)
        self._running[number] = trial
        flat = flatten(config)
        return Proposal(trial=number, values={path: flat[path] for path in values}, config=config)

    def _finish(
        self,
        trial: Trial,
        rows: Sequence[Mapping[str, Any]],
        identities: Sequence[str],
        added: Collection[tuple[Any, Any]] = frozenset(),
    ) -> None:
        """Tell Optuna, and remember the rows. ``added``: the derived points, as (number, point), told before.

        The trial's own end comes last, so that one that has ended is told whole.
        """
        own, *derived = rows
        for row in derived:
            attributes = {DERIVED: trial.number, POINT: row["point"]}
            if tuple(attributes.values()) not in added and (
                point := finished_trial(row, self._space, self._outcome, attributes)
            ):
                self._study.add_trial(point)
        end(self._study, trial, own, self._outcome)
        self._remember(rows, identities)

    def _answer(self, trial: Trial, row: Mapping[str, Any] | None) -> None:
        """End a proposal that is known: as its row says, if it has one already."""
        if row is not None:
            trial.set_user_attr(ANSWERED, [row["trial"], row["point"]])
        end(self._study, trial, row, self._outcome)

    def _forget(self, trials: Collection[int]) -> None:
        """The rows of trials that run again."""
        self.finished.difference_update(trials)
        self.rows = [row for row in self.rows if row["trial"] not in trials]

    def _noted(self, trial: FrozenTrial) -> Sequence[str]:
        """The identities of an ended trial's rows."""
        return self._known.of_rows(trial.user_attrs[ROWS], trial.user_attrs.get(IDENTITIES))

    def _remember(self, rows: Sequence[Mapping[str, Any]], identities: Sequence[str]) -> None:
        for row, identity in zip(rows, identities, strict=True):
            self.rows.append(dict(row))
            self.history.append(self.rows[-1])
            self._known.end(row, identity)
        self.finished.add(rows[0]["trial"])

    def _recover(self) -> None:
        """Take up what a driver left: finished trials are kept, those it left running go on under their number."""
        trials = self._study.get_trials(deepcopy=False)
        added = {(trial.user_attrs.get(DERIVED), trial.user_attrs.get(POINT)) for trial in trials}
        latest = {trial.user_attrs.get(TRIAL): trial for trial in trials if DUPLICATE not in trial.user_attrs}
        duplicates = []
        for trial in trials:
            with making_sense_of(trial):
                check_values(trial, self._space)
                number, rows = trial.user_attrs.get(TRIAL), trial.user_attrs.get(ROWS)
                if number is not None:
                    self._next = max(self._next, number + 1)
                if trial.state != TrialState.RUNNING:
                    if rows is not None and latest.get(number, trial) is trial:  # else it failed, and runs again
                        self._remember(rows, self._noted(trial))
                elif rows is not None:
                    self._finish(taken_up(self._study, trial), rows, self._noted(trial), added)
                elif DUPLICATE in trial.user_attrs:
                    duplicates.append(trial)
                elif number is not None or FIXED in trial.system_attrs:
                    self._left.append(trial)
                else:  # killed while it was drawn: it will be drawn again
                    self._study.tell(trial.number, state=TrialState.FAIL)
        for trial in duplicates:  # now that all rows are known
            with making_sense_of(trial):
                self._answer(taken_up(self._study, trial), self._known.row(self._known.of(trial.params)))
        self._duplicates = sum(trial.user_attrs.get(DUPLICATE) == self._next for trial in trials)
        self.repeats += [row for key, row in self._study.user_attrs.items() if key.startswith(f"{REPEAT} ")]

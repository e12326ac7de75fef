"""Gaussian processes that know the space's conditions, and expected hypervolume improvement, without torch.

The study begins with a design that fills the space (as in Jones et al., 1998; here Sobol, 1967, scrambled as in Owen,
1998). Each objective is told to its process as `Warp` has it, while the improvement is that of the objective itself
(warped processes: Snelson et al., 2003). Sources: Emmerich et al., 2011; Daulton et al., 2020 (arXiv:2006.05078);
constraints as in Gardner et al., 2014.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from imer_ray.results.improvement import expected_improvement
from imer_ray.results.pareto import pareto_front
from imer_ray.results.proposals import START_UP
from imer_ray.tuning.searchers import ANSWERED, DERIVED, FIDELITY, ORIGIN, RESUMED, TRIAL
from imer_ray.tuning.searchers._encoding import Encoding, Rows
from imer_ray.tuning.searchers._gaussian_process import GaussianProcess, one_thread
from imer_ray.tuning.searchers._maximum import highest
from imer_ray.tuning.searchers._warp import Warp
from imer_ray.tuning.searchers._window import window
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study._optuna import FIXED, note
from imer_ray.tuning.study.journal_entry import DUPLICATE

FITTED = (40, 80)  # best and latest of the trials that the models' parameters are fitted on
KNOWN = (60, 140)  # best and latest of those that they predict from
MOST_KNOWN = 100  # candidates, best first, of which one shall be new
MAX_OBJECTIVES = 3  # beyond, the improvement is a sum over more boxes than there is time for
MARGIN = 0.1  # of the range of the values, between the worst and the reference point


def build(seed: int, population: int) -> BaseSampler:
    return ExpectedImprovement(seed, population)


class ExpectedImprovement(BaseSampler):
    """Begins with a Sobol sequence, then proposes where the front is expected to grow most.

    Only configurations that exist are compared. What one does not have is absent to the models, told apart by the
    choice on which it depends (`Encoding`). Trials that run are taken for what is predicted of them. The further points
    of a trial are measurements of their own to the models, although they share the luck of its training: a random
    effect of the training cannot be told from what the settings do that only trainings have, and hides it.

    Not a sampler for any study: it has to be told the space (`begin`).
    """

    def __init__(self, seed: int, population: int) -> None:
        self._seed = seed
        self._population = population
        self._space: Space | None = None
        self._design_seed = seed
        self._held: Mapping[str, Any] = {}
        self._proposal: dict[str, Any] | None = None

    def begin(self, space: Space, seed: int) -> None:
        """What is searched, and the study's own seed, which is the same for all proposals."""
        self._space, self._design_seed = space, seed

    def hold(self, values: Mapping[str, Any]) -> None:
        """What the next proposal shall have."""
        self._held = dict(values)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._proposal = None
        if not {ORIGIN, TRIAL} & trial.user_attrs.keys() and self._is_start_up(study, trial):
            note(study, trial, ORIGIN, START_UP)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._proposal is None:
            with one_thread():
                self._proposal = self._propose(study, trial)
        return self._proposal[param_name]

    def rank(self, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
        """[N] the expected improvement."""
        if self._is_start_up(study):
            return None
        with one_thread():
            model = self._model(study)
            return model(model.encoding.rows(candidates))

    def _encoding(self) -> Encoding:
        if self._space is None:
            raise RuntimeError("this searcher has to be told the space: begin(space, seed)")
        return Encoding(self._space.parameters)

    def _is_start_up(self, study: Study, asked: FrozenTrial | None = None) -> bool:
        """Until so many trials are proposed, and one that tells something is complete."""
        own = complete = 0
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)):
            if not {DERIVED, ANSWERED, RESUMED} & trial.user_attrs.keys() and not _same(trial, asked):
                own += trial.state == TrialState.COMPLETE or TRIAL in trial.user_attrs
                complete += trial.state == TrialState.COMPLETE
                if own >= self._population and complete >= min(2, self._population):
                    return False
        return True

    def _propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """The best that is new; if nothing is, the best."""
        held = {**self._held, **trial.system_attrs.get(FIXED, {})}
        if self._is_start_up(study, trial):
            encoding = self._encoding()
            rows = self._design(study, trial, encoding, encoding.rows([held])[0])
        else:
            model = self._model(study, trial)
            encoding = model.encoding
            rng = np.random.default_rng(self._seed)
            rows, _ = highest(model, encoding, model.front, encoding.rows([held])[0], rng)
        known = [trial.params for trial in study.get_trials(deepcopy=False) if _was_proposed(trial)]
        for row in rows[:MOST_KNOWN]:
            if (values := encoding.values(row)) not in known:
                return values
        return encoding.values(rows[0])

    def _design(self, study: Study, asked: FrozenTrial, encoding: Encoding, held: NDArray[np.float64]) -> Rows:
        """The rest of a scrambled Sobol sequence (Owen, 1998)."""
        from scipy.stats import qmc  # takes a second, and a study that goes on past its start-up needs none

        begun = sum(
            trial.user_attrs.get(ORIGIN) == START_UP and TRIAL in trial.user_attrs and not _same(trial, asked)
            for trial in study.get_trials(deepcopy=False)
        )
        sequence = qmc.Sobol(len(encoding.columns), rng=np.random.default_rng(self._design_seed))
        uniform = sequence.random_base2(math.ceil(math.log2(begun + MOST_KNOWN)))[begun:]
        return encoding.settled(np.tile(held, (len(uniform), 1)), uniform)

    def _model(self, study: Study, asked: FrozenTrial | None = None) -> _Model:
        known = [trial for trial in window(study, *KNOWN) if not _same(trial, asked)]
        return _Model(self._encoding(), known, window(study, *FITTED))


def _was_proposed(trial: FrozenTrial) -> bool:
    """Not so if its driver was killed while it was drawn."""
    return trial.state != TrialState.FAIL or bool({TRIAL, DUPLICATE} & trial.user_attrs.keys())


def _same(trial: FrozenTrial, asked: FrozenTrial | None) -> bool:
    return asked is not None and trial.number == asked.number


class _Model:
    """The expected improvement of rows, by what is known of a study's trials.

    Trials that were stopped stand at the worst that was measured: what is to be learnt of them is not to go there
    again (the constant liar of Ginsbourger et al., 2010).

    Attributes:
        encoding: of the rows.
        front: what was best, as rows.
    """

    def __init__(self, encoding: Encoding, known: Sequence[FrozenTrial], fitted: Sequence[FrozenTrial]) -> None:
        self.encoding = encoding
        complete = [trial for trial in known if trial.state == TrialState.COMPLETE and trial.params]
        running = [trial for trial in known if trial.state == TrialState.RUNNING and trial.params]
        numbers = {trial.number for trial in fitted}
        fitted_on = np.flatnonzero([trial.number in numbers for trial in complete])
        stopped = np.array([FIDELITY in trial.constraints for trial in complete])
        feasible = np.array([all(value <= 0 for value in trial.constraints.values()) for trial in complete])
        values = np.array([trial.values for trial in complete], dtype=np.float64)
        worst = values[~stopped].max(0) if not stopped.all() else values.max(0)
        values[stopped] = worst
        self._reference = worst + MARGIN * np.maximum(worst - values.min(0), 1e-12)
        rows = encoding.rows([trial.params for trial in complete])
        x = encoding.features(rows)
        self._warps = [Warp(y) for y in values.T]
        told = [warp(y) for warp, y in zip(self._warps, values.T, strict=True)]
        self._objectives = [GaussianProcess(x, y, encoding.owners, fitted_on) for y in told]
        violated = {n for trial in complete for n, value in trial.constraints.items() if value > 0} - {FIDELITY}
        self._constraints = [
            GaussianProcess(
                x,
                np.array([trial.constraints.get(name, 0.0) for trial in complete]),
                encoding.owners,
                fitted_on,
            )
            for name in sorted(violated)
        ]
        self._found = values[feasible]
        self.front = rows[feasible][pareto_front(self._found)] if feasible.any() else rows[:0]
        if running:
            believed = encoding.features(encoding.rows([trial.params for trial in running]))
            models = zip(self._objectives, self._warps, strict=True)
            predicted = np.stack([warp.inverse(process.predict(believed)[0]) for process, warp in models], 1)
            self._found = np.vstack([self._found, predicted])
            for process in (*self._objectives, *self._constraints):
                process.believe(believed)

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        x = self.encoding.features(rows)
        mean, deviation = (np.stack(both, 1) for both in zip(*(gp.predict(x) for gp in self._objectives), strict=True))
        improvement = expected_improvement(mean, deviation, self._found, self._reference, self._warps)
        for process in self._constraints:
            bound, spread = process.predict(x)
            improvement *= ndtr(-bound / spread)
        return improvement

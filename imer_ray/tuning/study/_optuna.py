"""What we use of Optuna that it does not offer to others: all of it is here, since any version may change it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.samplers import GPSampler, TPESampler
from optuna.storages.journal._storage import JournalOperation as JournalOperation
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

__all__ = [
    "FIXED",
    "JournalOperation",
    "RankingGP",
    "RankingTPE",
    "note",
    "noted",
    "reopened",
    "seen",
    "taken_up",
    "trial_id",
    "view",
]

FIXED = "fixed_params"  # system attribute: the values with which a trial was enqueued


def trial_id(trial: FrozenTrial) -> int:
    """A trial's number in its storage, unlike that in its study."""
    return trial._trial_id


def note(study: Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Set a user attribute of a trial that a sampler is asked about."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def noted(study: Study, trial: Trial) -> dict[str, Any]:
    """The user attributes of a trial as they stand in the storage, with those that a sampler has set meanwhile."""
    return study._storage.get_trial(trial._trial_id).user_attrs


def taken_up(study: Study, trial: FrozenTrial) -> Trial:
    """A running trial that another process began, to go on with."""
    return Trial(study, trial._trial_id)


def reopened(study: Study, trial: FrozenTrial, attributes: Mapping[str, Any]) -> Trial:
    """A new running trial with the values of one that has ended."""
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=dict(attributes),
        )
    )
    return taken_up(study, study.get_trials(deepcopy=False)[-1])


def seen(study: Study, *states: TrialState) -> list[FrozenTrial]:
    """A study's trials in these states, or those of a `view`, as Optuna's samplers see them."""
    return study._get_trials(deepcopy=False, states=states)


def view(study: Study, trials: Sequence[FrozenTrial]) -> Study:
    """The study as one that has only these trials, to samplers."""
    return cast(Study, _View(study, trials))


class _View:
    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """As `optuna.Study` has it, through which its samplers ask."""
        return [trial for trial in self._trials if states is None or trial.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


class RankingTPE(TPESampler):
    """Optuna's, which also says of configurations that it did not draw how promising they are."""

    _densities: Any = None  # of the good and of the other trials, as last used

    def _compute_acquisition_func(self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any) -> Any:
        self._densities = (mpe_below, mpe_above)
        return super()._compute_acquisition_func(samples, mpe_below, mpe_above)

    def rank(self, study: Study, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """[N] log l(x) - log g(x), summed over the groups of parameters that a configuration x has."""
        new = create_trial(state=TrialState.RUNNING)
        self.infer_relative_search_space(study, new)
        assert self._search_space_group is not None
        scores = np.zeros(len(candidates))
        for space in self._search_space_group.search_spaces:
            group = {name: space[name] for name in sorted(space) if not space[name].single()}
            own = [i for i, candidate in enumerate(candidates) if group and group.keys() <= candidate.keys()]
            if own:
                self._sample(study, new, group)  # for its densities
                values = {name: [candidates[i][name] for i in own] for name in group}
                numbers = {name: np.array([group[name].to_internal_repr(v) for v in values[name]]) for name in group}
                scores[own] += super()._compute_acquisition_func(numbers, *self._densities)
        return scores


class RankingGP(GPSampler):
    """Optuna's, which chooses among ``candidates`` if it has any, and keeps their ``scores``."""

    candidates: Sequence[Mapping[str, Any]] = ()
    scores: NDArray[np.float64]

    def _optimize_acqf(self, acqf: Any, best_params: NDArray[np.float64] | None) -> NDArray[np.float64]:
        if not self.candidates:
            return super()._optimize_acqf(acqf, best_params)
        points = acqf.search_space.get_normalized_params([None] * len(self.candidates), list(self.candidates))
        self.scores = acqf.eval_acqf_no_grad(points)
        return points[np.argmax(self.scores)]

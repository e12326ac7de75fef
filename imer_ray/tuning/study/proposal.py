"""What a record proposes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from imer_ray.results.proposals import GIVEN, SEARCHER
from imer_ray.tuning.searchers import ORIGIN, RESUMED, TRIAL
from imer_ray.tuning.space.space import Space, Uniform
from imer_ray.tuning.study._optuna import FIXED, reopened

NUM_DRAWN = 4  # of what a point leaves open, to tell what does not depend on it


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What to try: our trial number, the searched paths' values and the whole configuration."""

    trial: int
    values: Mapping[str, Any]
    config: Mapping[str, Any]


def enqueue_once(study: Study, points: Sequence[Mapping[str, Any]]) -> int:
    """Have these proposed first, in this order, but for those that ever were; how many are new."""
    num_new = 0
    done = [trial.system_attrs.get(FIXED) for trial in study.get_trials(deepcopy=False)]
    for point in points:
        if dict(point) not in done:
            study.enqueue_trial(dict(point), user_attrs={ORIGIN: GIVEN})
            done.append(dict(point))
            num_new += 1
    return num_new


def enqueue_again(study: Study, trial: FrozenTrial) -> None:
    """Have one of our trials proposed again, under its number."""
    kept = {name: trial.user_attrs[name] for name in (TRIAL, ORIGIN) if name in trial.user_attrs}
    study.enqueue_trial(trial.params, user_attrs=kept)


def queued(
    study: Study, space: Space, left: Sequence[FrozenTrial], number: int, is_new: Callable[[Mapping[str, Any]], bool]
) -> Iterator[tuple[int, Sequence[Mapping[str, Any]]]]:
    """Trials that will be proposed before the searcher is asked, and what their values may be: of those that a killed
    driver ``left``, then of those that wait. What one leaves open is drawn, `NUM_DRAWN` times.

    Args:
        number: of the next new trial.
    """
    for trial in (*left, *study.get_trials(deepcopy=False, states=(TrialState.WAITING,))):
        given, rng = {**trial.system_attrs.get(FIXED, {}), **trial.params}, random.Random(0)
        whole = space.locate(given)
        may_be = [space.suggest(Uniform(rng, given)) for _ in range(NUM_DRAWN)] if whole is None else [whole]
        if is_new(may_be[0]):  # else it will be answered, and takes no number
            own = trial.user_attrs.get(TRIAL, number)
            number = max(number, own + 1)
            yield own, may_be


def reopen(study: Study, number: int) -> Trial:
    """In the place of one of our trials that has ended, one with the same values that runs."""
    trials = reversed(study.get_trials(deepcopy=False))
    ended = next(trial for trial in trials if trial.user_attrs.get(TRIAL) == number)
    origin = ended.user_attrs.get(ORIGIN, SEARCHER)
    return reopened(study, ended, {TRIAL: number, RESUMED: True, ORIGIN: origin})


def key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Equal for equal values of equal types: 1, 1.0 and True are three."""
    return tuple((path, type(value), value) for path, value in values.items())


def proposal_seed(seed: int, trial: int, num_known: int) -> int:
    """Of a study's seed the one for the proposal of a trial, after ``num_known`` known ones in its place."""
    return int.from_bytes(hashlib.sha256(f"{seed}-{trial}-{num_known}".encode()).digest()[:4], "big")

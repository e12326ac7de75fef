"""What a record proposes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import Trial

from imer_ray.tuning.searchers import GIVEN, ORIGIN, RESUMED, SEARCHER, TRIAL
from imer_ray.tuning.study._optuna import FIXED, reopened


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

"""Configurations that a searcher may choose from when what it proposes is known already."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.trial import TrialState

from imer_ray.results.proposals import NEXT_BEST, RANDOM, SEARCHER
from imer_ray.tuning.searchers import ORIGIN
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.searchers._window import NUM_BEST, window
from imer_ray.tuning.searchers._wrapper import rank
from imer_ray.tuning.space.space import Space, Uniform

SAME_PROPOSALS = 3  # known ones in a row that a sampler is told the results of, before its best new one is taken
SAME_DRAWS = 20  # the same for one without a model, before one is drawn at random
RANDOM_DRAWS = 1000  # random configurations, all known, after which the space counts as exhausted
NUM_CANDIDATES = 256
NUM_CHANGED = 2.0  # parameters of a neighbour that are drawn anew, on average: one may be drawn as it was


def enqueue_new(
    study: Study, space: Space, rng: random.Random, is_new: Callable[[Mapping[str, Any]], bool], num_known: int
) -> bool:
    """Have one proposed that is new, unless the sampler shall be heard again; False if there is none."""
    if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return True  # those that wait are a killed driver's
    origin, values = next_new(study, space, rng, is_new, num_known)
    if values is not None:
        study.enqueue_trial(values, user_attrs={ORIGIN: origin})
    return values is not None or origin == SEARCHER


def next_new(
    study: Study, space: Space, rng: random.Random, is_new: Callable[[Mapping[str, Any]], bool], num_known: int
) -> tuple[str, dict[str, Any] | None]:
    """Who proposes next after ``num_known`` known proposals in a row, and what, if it is not the sampler.

    Only where the sampler has no model, and goes on proposing what is known, one is drawn at random.

    Returns:
        `SEARCHER` and None: the sampler is heard again. Else `NEXT_BEST` or `RANDOM`, and values; None: nothing is new.
    """
    if num_known < SAME_PROPOSALS:
        return SEARCHER, None
    values, has_model = next_best(study, space, rng, is_new)
    if values is not None:
        return NEXT_BEST, values
    if not has_model and num_known < SAME_DRAWS:
        return SEARCHER, None
    return RANDOM, next(filter(is_new, (space.sample(rng) for _ in range(RANDOM_DRAWS))), None)


def next_best(
    study: Study, space: Space, rng: random.Random, is_new: Callable[[Mapping[str, Any]], bool]
) -> tuple[dict[str, Any] | None, bool]:
    """Of what is new what the study's sampler would propose first, and whether it has a model to tell.

    If it shares a prefix of which nothing is left, the prefix is given up.
    """
    sampler, has_model = study.sampler, False
    good = [trial.params for trial in window(study, NUM_BEST, 0)]
    held = sampler.held(study) if isinstance(sampler, SharedPrefix) else {}
    for prefix in (held, {}) if held else ({},):
        drawn = candidates(space, rng, good, prefix)
        scores = rank(sampler, study, drawn)
        if scores is not None:
            has_model = True
            if (
                first := next(filter(is_new, (drawn[i] for i in np.argsort(-scores, kind="stable"))), None)
            ) is not None:
                return first, True
    return None, has_model


def candidates(
    space: Space, rng: random.Random, good: Sequence[Mapping[str, Any]], held: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Half of them neighbours of good configurations, half uniform draws; all with the held values.

    The mixture is SMAC's (Hutter et al., 2011, section 4.3): what is promising lies near what is good, and what the
    searcher's model thinks good elsewhere is found as well.
    """
    found = []
    for number in range(NUM_CANDIDATES):
        kept: dict[str, Any] = {}
        if good and number % 2:
            values = rng.choice(good)
            changed = NUM_CHANGED / max(1, len(values))
            kept = {path: value for path, value in values.items() if rng.random() >= changed}
        found.append(space.suggest(Uniform(rng, {**kept, **held})))
    return found

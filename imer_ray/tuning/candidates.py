"""Configurations that a searcher may choose from when what it proposes is known already."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from imer_ray.tuning.space import Space, Uniform

NUM_CANDIDATES = 256
NUM_CHANGED = 2.0  # parameters of a neighbour that are drawn anew, on average: one may be drawn as it was


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

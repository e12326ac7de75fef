"""How a study's trials were proposed: the words of the column ``proposed_by``, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence

GIVEN = "given"  # before the searcher was asked
START_UP = "start-up"  # drawn before there is a model
SEARCHER = "searcher"  # the searcher's own
COST_FIRST = "cost first"  # the most promising of several whose cost was measured
NEXT_BEST = "next best"  # the best of what is new by the searcher's model, since what it proposed is known
RANDOM = "random"  # drawn at random, since all else that the searcher proposed is known


def after_start_up(origins: Sequence[str]) -> list[str]:
    """Of a study's proposals those that it had learnt for."""
    return [origin for origin in origins if origin not in (GIVEN, START_UP)]


def random_share(origins: Sequence[str]) -> float:
    """Of a study's proposals after the start-up the share that was drawn at random; 0 if there are none."""
    later = after_start_up(origins)
    return later.count(RANDOM) / max(1, len(later))

"""How often a stage is tried again, and how long its store is waited for.

A death counts against the stage, unless it got further than at the last one: who loses a machine every hour but does
ten epochs in between comes to the end. A store that fails says nothing of the stage and does not count, but it is not
waited for without end: first by the process that has computed something, then, without it, by the broker, which says
so. Waiting times double from one failure to the next, and differ between stages, so that hundreds
do not come back in the same moment (exponential backoff with jitter: M. Brooker, 2015, aws.amazon.com/blogs/
architecture/exponential-backoff-and-jitter).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from imer_ray.errors import StoreFailed

T = TypeVar("T")
FIRST_SECONDS, MOST_SECONDS = 1.0, 30.0
HELD_SECONDS = 60.0  # for so long a process that has computed something keeps it for a store that fails


def insisted(act: Callable[[], T]) -> T:
    """What ``act`` gives, which is tried again every second as long as a store fails, for up to `HELD_SECONDS`."""
    until = time.monotonic() + HELD_SECONDS
    while True:
        try:
            return act()
        except StoreFailed:
            if time.monotonic() > until:
                raise
            time.sleep(FIRST_SECONDS)


class Patience:
    """With one stage.

    Args:
        max_failures: that are followed by another attempt.
        store_seconds: that the store may fail for, until the stage gets further.
        seed: of the waiting times.
        clock: in seconds.
    """

    def __init__(
        self, max_failures: int, store_seconds: float, seed: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.num_failures = 0
        self._max_failures, self._store_seconds = max_failures, store_seconds
        self._random, self._clock = random.Random(seed), clock
        self._furthest, self._num_waits = 0, 0
        self._waited = 0.0  # for the store, since the stage last got further
        self._down_since: float | None = None

    def answered(self) -> None:
        """The store did what it was asked."""
        if self._down_since is not None:
            self._waited += self._clock() - self._down_since
            self._down_since = None

    def delay(self, error: Exception, furthest: int) -> float | None:
        """Seconds to wait before the next attempt; None: there is to be none.

        Args:
            furthest: the epoch that the stage has come to in all its attempts.
        """
        if furthest > self._furthest:
            self._furthest, self.num_failures, self._num_waits, self._waited = furthest, 0, 0, 0.0
        if isinstance(error, StoreFailed):
            self._down_since = self._clock() if self._down_since is None else self._down_since
            left = self._store_seconds - self._waited - (self._clock() - self._down_since)
            return min(self._next(), max(left, FIRST_SECONDS)) if left > 0 else None
        self.num_failures += 1
        if self.num_failures > self._max_failures:
            return None
        return self._next() if isinstance(error, OSError) else 0.0

    def _next(self) -> float:
        longest = min(FIRST_SECONDS * 2.0 ** min(self._num_waits, 10), MOST_SECONDS)
        self._num_waits += 1
        return longest * (0.5 + self._random.random() / 2)

"""When a training gains by going on with more workers, because nodes have come."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 30.0  # between two looks at how much room there is
START_SECONDS = 60.0  # that a group takes to start, generously


class Growth:
    """One run of a training by ``size`` workers, which goes on from its last epoch if it is stopped.

    Args:
        now: seconds, of a clock.
    """

    def __init__(self, size: int, now: Callable[[], float] = time.monotonic) -> None:
        self.size, self._now = size, now
        self._first: tuple[float, int] | None = None  # when which epoch was first reported
        self._looked = now()

    def begin(self) -> None:
        """The workers are there; what they report next counts."""
        self._first = None

    def pays(self, epoch: int, num_epochs: int, possible: Callable[[], int]) -> bool:
        """Whether the epochs left take so much less with the ``possible`` workers that stopping and starting anew pays.

        With more workers an epoch is taken to be shorter in proportion, which is the most that can be.
        """
        now = self._now()
        if self._first is None:
            self._first = now, epoch
            return False
        since, first = self._first
        if epoch == first or now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        left = (num_epochs - epoch) * (now - since) / (epoch - first)
        return left * (1 - self.size / max(self.size, possible())) > START_SECONDS

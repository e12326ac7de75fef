"""When a training gains by going on with more workers, because nodes have come."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 30.0  # between two looks at how much room there is
START_SECONDS = 60.0  # that a group takes to start, generously
GAINED = 0.5  # of a worker that each further one counts for: 0.2 to 0.9 were measured (docs/results.md)


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
        r"""Whether the epochs left take so much less with the ``possible`` workers that starting anew pays:

        .. math:: T (1 - \tfrac{n}{n + g (m - n)}) > T_{start},

        where T is what they take with the n workers that there are, m are possible, and each one more counts g.
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
        more = max(0, possible() - self.size)
        return left * (1 - self.size / (self.size + GAINED * more)) > START_SECONDS

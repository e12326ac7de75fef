"""The stages that a waiter asks for at about the same time, asked for in one call to the broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status

GATHER_SECONDS = 0.002  # a trial asks for its stages from threads that start within this time
WAITING = Status(state="waiting")

Ask = Callable[[Sequence[Stage | str]], Mapping[str, Status]]


class Batch:
    """Threads that wait for a stage each; one of them asks the broker for all, and the others wait for it.

    Args:
        ask: answers with what is known of stages, or of those whose keys are given; blocks until there is news of one.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._gathered = time.monotonic() + GATHER_SECONDS
        self._stages: dict[str, Stage] = {}  # what somebody waits for
        self._known: set[str] = set()  # keys that the broker has answered to
        self._answers: dict[str, tuple[int, Status]] = {}
        self._count = 0
        self._asking = False
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether further stages may join: it has not been asked for yet."""
        return time.monotonic() < self._gathered

    def join(self, stage: Stage) -> None:
        with self._changed:
            self._stages[stage.key] = stage

    def drop(self, key: str) -> None:
        with self._changed:
            self._stages.pop(key, None)
            self._changed.notify_all()

    def next(self, key: str, seen: int, timeout: float) -> tuple[int, Status]:
        """Number and content of the first answer about a stage after answer number ``seen``; after ``timeout`` seconds
        the last one again."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                number, status = self._answers.get(key, (0, WAITING))
                if number > seen or (left := end - time.monotonic()) <= 0:
                    return number, status
                if not self._asking:
                    self._asking = True
                    break
                self._changed.wait(left)
        try:
            self._ask_once()
        finally:
            with self._changed:
                self._asking = False
                self._changed.notify_all()
                number, status = self._answers.get(key, (0, WAITING))
        return number, status

    def _ask_once(self) -> None:
        time.sleep(max(0.0, self._gathered - time.monotonic()))
        with self._changed:
            asked = [key if key in self._known else stage for key, stage in self._stages.items()]
        answers = self._ask(asked)
        with self._changed:
            self._known = set(answers)  # a broker that was restarted has forgotten the others
            self._count += 1
            self._answers |= {key: (self._count, status) for key, status in answers.items()}

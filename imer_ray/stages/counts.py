"""How many stages a broker computed, reused, lost and failed, and the time that took, per kind of stage."""

from __future__ import annotations

from collections import defaultdict

COUNTED = ("computed", "reused", "stopped", "retried", "failed")
TIMED = ("computed_seconds", "worker_seconds", "reused_seconds")


class Counts:
    """Each pair of waiter and stage is reused once at most; ``computed_seconds`` has stopped and lost runs, too, and
    ``worker_seconds`` are these times the workers of each run."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTED, 0))
        self._seconds: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(TIMED, 0.0))

    def count(self, kind: str, what: str) -> None:
        self._counts[kind][what] += 1

    def reused(self, kind: str, seconds: float) -> None:
        self.count(kind, "reused")
        self._seconds[kind]["reused_seconds"] += seconds

    def spent(self, kind: str, seconds: float, workers: int) -> None:
        """Time spent on a run, whether it ended or not."""
        self._seconds[kind]["computed_seconds"] += seconds
        self._seconds[kind]["worker_seconds"] += seconds * workers

    def by_kind(self) -> dict[str, dict[str, float]]:
        kinds = sorted(self._counts.keys() | self._seconds.keys())
        return {kind: {**self._counts[kind], **self._seconds[kind]} for kind in kinds}

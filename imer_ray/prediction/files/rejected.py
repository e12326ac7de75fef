"""The rows of a file that hold no clip: counted, and the first of them listed with the reason."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from imer_ray.errors import UserError
from imer_ray.files import write_whole

MAX_LISTED = 10_000
MAX_SAID = 3


class Rejected:
    """Collects rows that are left out.

    Attributes:
        count: of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[str, str]] = []

    def add(self, id: str, error: UserError) -> None:
        self.count += 1
        if len(self._first) < MAX_LISTED:
            self._first.append((id, str(error)))

    def write(self, path: Path) -> None:
        """List the rows as CSV; without any, the list of an earlier run is removed."""
        if not self.count:
            path.unlink(missing_ok=True)
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("id", "reason"), *self._first])
        write_whole(path, text.getvalue().encode())

    def said(self) -> list[str]:
        """The first of them in words, and how many more there are."""
        lines = [f"  {id}: {reason}" for id, reason in self._first[:MAX_SAID]]
        return lines + [f"  and {self.count - MAX_SAID} more"] * (self.count > MAX_SAID)

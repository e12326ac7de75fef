"""Trials that failed: for a reason of their own, or one that may be gone when they run again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# A loss or a result that is no finite number, or was not measured, as that of the same configuration would be again
_OWN = re.compile(r"NonFiniteError: |\bis (nan|-?inf)$|\b(is|was) not measured$")
MAX_CHARACTERS = 200  # of a cause


def failed(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of the trials that failed, in the order of their numbers."""
    own = [row for row in rows if row["point"] == 0 and row["status"] == "failed"]
    return sorted(own, key=lambda row: int(row["trial"]))


def may_succeed(row: Mapping[str, Any]) -> bool:
    """Whether a failed trial could end otherwise when it runs again: a worker died, a disk was full, a program's fault
    has been mended. One whose loss became NaN would do so again, as every stage draws from its own seed."""
    return not _OWN.search(row["error"] or "")


def statement(rows: Sequence[Mapping[str, Any]], num_trials: int) -> str:
    """How many trials failed, the first one's cause, and what can be done about it; empty if none failed."""
    found = failed(rows)
    if not found:
        return ""
    cause = (found[0]["error"] or "no reason is known").splitlines()[0]
    if len(cause) > MAX_CHARACTERS:
        cause = cause[: MAX_CHARACTERS - 3] + "..."
    return f"{len(found)} of {num_trials} trials failed; trial {found[0]['trial']}: {cause}; {advice(found)}"


def advice(found: Sequence[Mapping[str, Any]]) -> str:
    """What can be done about failed trials."""
    num_again = sum(map(may_succeed, found))
    if not num_again:
        return "their configurations are the cause, so that study.retry_failed=true runs none of them again"
    if num_again == len(found):
        return "study.retry_failed=true runs them again"
    return f"study.retry_failed=true runs {num_again} of them again, of the others the configuration is the cause"

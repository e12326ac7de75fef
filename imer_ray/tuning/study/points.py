"""Which rows of a study are points of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def name(row: Mapping[str, Any]) -> tuple[int, int]:
    """Trial and point."""
    return row["trial"], row["point"]


def distinct(rows: Sequence[dict[str, Any]], identities: Mapping[tuple[int, int], str]) -> list[dict[str, Any]]:
    """The rows, each configuration once: two trials that share their training walk to the same further points.

    Every trial keeps its own point, and of others the first trial; in whichever order they ended.

    Args:
        identities: of the rows' configurations, by trial and point.
    """
    own = [row for row in rows if row["point"] == 0]
    others = [row for row in rows if row["point"] != 0]
    seen = {identities[name(row)] for row in own if row["status"] == "complete"}
    kept = {name(row) for row in own}
    for row in sorted(others, key=lambda row: (row["status"] != "complete", *name(row))):
        if (identity := identities[name(row)]) not in seen:
            kept.add(name(row))
            seen |= {identity} if row["status"] == "complete" else set()
    return [row for row in rows if name(row) in kept]

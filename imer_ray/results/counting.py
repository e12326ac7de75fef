"""How a study's rows are counted, wherever they are: distinct points, and the computing that was reused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


def identity(row: Mapping[str, Any]) -> str | None:
    """Equal for rows that stand for one result: the key of the last stage, which all that it stands on is part of.

    A walk from one trial and a proposal, or walks from two trials, may come to the same configuration. None if the row
    names no stages: then nothing else stands for its result.
    """
    stages = row.get("stages")
    keys = json.loads(stages) if isinstance(stages, str) else {}
    return str(list(keys.values())[-1]) if keys else None


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """The computing that a study's trials asked for, in seconds: what was computed for them, and what was reused.

    Each trial asks for the stages of its own point. Those that were there already, or were computed for another who
    asked first, count with what they took when they were computed. A trial's further points are left out: they share
    all that it trained by construction, and would make any study look thrifty. So are further seeds.
    """

    computed_s: float = 0.0
    reused_s: float = 0.0

    @property
    def share(self) -> float:
        """Of the computing asked for, the share that was reused; 0 where nothing was asked for."""
        return self.reused_s / self.total_s if self.total_s > 0 else 0.0

    @property
    def total_s(self) -> float:
        return self.computed_s + self.reused_s

    def and_of(self, rows: Iterable[Mapping[str, Any]]) -> Reuse:
        """With further rows of ``results.parquet``, each given once."""
        computed, reused = self.computed_s, self.reused_s
        for row in rows:
            if not _number(row.get("point")) and not _number(row.get("repeat")):
                computed += _number(row.get("seconds_computed"))
                reused += _number(row.get("seconds_reused"))
        return Reuse(computed_s=computed, reused_s=reused)


def _number(value: Any) -> float:
    """0 for what is missing, be it None or pandas' NaN."""
    return 0.0 if value is None or value != value else float(value)

"""What a record proposes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What to try: our trial number, the searched paths' values and the whole configuration."""

    trial: int
    values: Mapping[str, Any]
    config: Mapping[str, Any]


def key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Equal for equal values of equal types: 1, 1.0 and True are three."""
    return tuple((path, type(value), value) for path, value in values.items())


def proposal_seed(seed: int, trial: int, num_known: int) -> int:
    """Of a study's seed the one for the proposal of a trial, after ``num_known`` known ones in its place."""
    return int.from_bytes(hashlib.sha256(f"{seed}-{trial}-{num_known}".encode()).digest()[:4], "big")

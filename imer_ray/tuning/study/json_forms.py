"""The forms that JSON of others must have: each raises ValueError, or says whether a value has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from imer_ray.received import MAX_INT


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):  # as JSON's are; asking for a Mapping takes ten times as long
        raise ValueError(f"{name} is no JSON object")
    return value


def typed(kind: type, entry: Mapping[str, Any], name: str) -> Any:
    if type(entry.get(name)) is not kind:
        raise ValueError(f"{name} is {str(entry.get(name))[:40]!r}")
    return entry[name]


def whole_below(entry: Mapping[str, Any], name: str, end: int) -> None:
    value = typed(int, entry, name)
    if not 0 <= value < end:
        raise ValueError(f"{name} {value} is none of {end}")


def finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and within(value) and math.isfinite(value)


def within(value: float) -> bool:
    return isinstance(value, float) or abs(value) <= MAX_INT

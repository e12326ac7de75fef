"""The form of the rows in a journal: those that can be written to results.parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from imer_ray.results.schema import COLUMNS, METRIC_PREFIX, OBJECTIVE_PREFIX, STATUSES
from imer_ray.results.words import json_object, json_texts
from imer_ray.tuning.study.json_forms import mapping, whole_below, within

TEXTS = ("stages", "executors", "versions")  # columns of a row with JSON objects of texts


def check_row(row: Any) -> None:
    """Raises ValueError if a row of the results is none that could be written."""
    row = mapping(row, "a row")
    for name in ("trial", "point"):
        whole_below(row, name, 2**31)
    if row.get("status") not in STATUSES:
        raise ValueError(f"{row.get('status')!r} is no status of a row")
    _check_components(json_object(row.get("config"), "config"))
    for name, value in row.items():
        if value is not None and not _FITS.get(name, _is_float)(value):
            raise ValueError(f"{name} of a row is {str(value)[:40]!r}")
        if name not in COLUMNS and not name.startswith((METRIC_PREFIX, OBJECTIVE_PREFIX)):
            raise ValueError(f"the results have no column {name}")
    for name in TEXTS:
        if row.get(name) is not None:
            json_texts(row[name], name)
    if row.get("rungs") is not None:
        _rungs(json_object(row["rungs"], "rungs"))
    if row["status"] == "complete" and any(row.get(f"objective.{name}") is None for name in ("quality", "speed")):
        raise ValueError("a complete row has no objectives")


def _rungs(kinds: Mapping[str, Any]) -> None:
    for kind, reached in kinds.items():
        for epoch, value in mapping(reached, f"rungs of {kind}").items():
            if not epoch.isdecimal() or not _is_float(value):
                raise ValueError(f"rungs of {kind} have {value!r} at {epoch[:20]!r}")


def _check_components(tree: Mapping[str, Any]) -> None:
    for value in tree.values():
        if isinstance(value, dict):
            if "_target_" in value and "name" not in value:
                raise ValueError("a component of config has no 'name'")
            _check_components(value)


def _is_time(value: Any) -> bool:
    datetime.fromisoformat(value if isinstance(value, str) else "")
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and within(value)


def _is_float(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and within(value)


def _fit(kind: pa.DataType) -> Callable[[Any], bool]:
    if pa.types.is_timestamp(kind):
        return _is_time
    if pa.types.is_string(kind):
        return _is_text
    if pa.types.is_boolean(kind):
        return _is_truth
    return _is_whole if pa.types.is_integer(kind) else _is_float


_FITS = {name: _fit(kind) for name, kind in COLUMNS.items()}

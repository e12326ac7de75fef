"""The form of a journal's entries: what Optuna writes, with what a `imer_ray.tuning.study.record.Record` notes in them.

Whoever can write to a study's folder can write anything. What Optuna, the record and the results' writer will make of
an entry is therefore looked at here, where its line is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from imer_ray.config.tree import flatten
from imer_ray.received import MAX_INT
from imer_ray.results.schema import COLUMNS, METRIC_PREFIX, OBJECTIVE_PREFIX, STATUSES
from imer_ray.results.words import json_object, json_texts
from imer_ray.tuning import searchers
from imer_ray.tuning.study._optuna import FIXED, JournalOperation

# User attributes of Optuna's trials and study, beside those that samplers look at (`imer_ray.tuning.searchers`)
ROWS = "rows"  # what goes to results.parquet; set before the trial is told
DUPLICATE = "duplicate"  # set on a proposal that was known already: our number of the trial that it might have been
POINT = "point"  # of a derived point, its number in its trial
REPEAT = "repeat"  # followed by trial, point and number: the row of a point that was run with a further seed
LEARNT = "learnt"  # of another study's result: its source, trial and point
SOURCES = "learnt_from"  # of the study: from which others it has learnt
SPENT = "spent"  # of the study: name -> how much of a budget all drivers together have spent
IDENTITY = "identity"  # of the study: what all its trials share
TEXTS = ("stages", "executors", "versions")  # columns of a row with JSON objects of texts
MAX_DEPTH = 16  # of anything nested in an entry


class EntryCheck:
    """Takes a journal's entries, one after another."""

    def __init__(self) -> None:
        self._studies: set[str] = set()
        self._num_objectives = 0
        self._num_trials = 0

    def take(self, entry: Any) -> None:
        """Raises ValueError if an entry has not the form of one, or speaks of what the journal has not created."""
        entry = _mapping(entry, "the entry")
        operation = entry.get("op_code")
        if type(operation) is not int or operation not in set(JournalOperation):
            raise ValueError(f"{operation!r} is no operation")
        _is(str, entry, "worker_id")
        if operation == JournalOperation.CREATE_STUDY:
            self._create_study(entry)
        elif operation in _OF_STUDY:
            _number(entry, "study_id", len(self._studies))
        elif operation in _OF_TRIAL:
            _number(entry, "trial_id", self._num_trials)
        if operation == JournalOperation.CREATE_TRIAL:
            self._num_trials += 1
        if operation in (JournalOperation.CREATE_TRIAL, JournalOperation.SET_TRIAL_STATE_VALUES):
            _values(entry, self._num_objectives)
        if form := _FORMS.get(operation):
            form(entry)

    def _create_study(self, entry: Mapping[str, Any]) -> None:
        name = _is(str, entry, "study_name")
        directions = _is(list, entry, "directions")
        if not self._studies and name != "study":
            raise ValueError(f"a study's journal begins with study, not with {name!r}")
        if any(type(direction) is not int or direction not in (1, 2) for direction in directions):
            raise ValueError(f"{directions} are no directions")
        self._num_objectives = self._num_objectives or len(directions)
        self._studies.add(name)  # once, although earlier versions began it at each opening


def check_row(row: Any) -> None:
    """Raises ValueError if a row of the results is none that could be written."""
    row = _mapping(row, "a row")
    for name in ("trial", "point"):
        _number(row, name, 2**31)
    if row.get("status") not in STATUSES:
        raise ValueError(f"{row.get('status')!r} is no status of a row")
    try:
        flatten(json_object(row.get("config"), "config"))
    except KeyError as error:
        raise ValueError(f"a component of config has no {error}") from error
    for name, value in row.items():
        if value is not None and not _fits(value, COLUMNS.get(name, pa.float64())):
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
        for epoch, value in _mapping(reached, f"rungs of {kind}").items():
            if not epoch.isdecimal() or not _fits(value, pa.float64()):
                raise ValueError(f"rungs of {kind} have {value!r} at {epoch[:20]!r}")


def _fits(value: Any, kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind):
        datetime.fromisoformat(value if isinstance(value, str) else "")
        return True
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    allowed = int if pa.types.is_integer(kind) else (int, float)
    return isinstance(value, allowed) and not isinstance(value, bool) and _within(value)


def _within(value: float) -> bool:
    return isinstance(value, float) or abs(value) <= MAX_INT


def _trial(entry: Mapping[str, Any]) -> None:
    for name in ("user_attrs", "system_attrs", "params", "distributions", "intermediate_values"):
        _mapping(entry.get(name, {}), name)
    if (value := entry.get("value")) is not None and not _finite(value):
        raise ValueError(f"{value!r} is no value of an objective")
    _attributes(entry.get("user_attrs", {}))
    _system(entry.get("system_attrs", {}))
    for value in entry.get("params", {}).values():
        _parameter_value(value)


def _parameter(entry: Mapping[str, Any]) -> None:
    _is(str, entry, "param_name")
    _parameter_value(entry.get("param_value_internal"))


def _parameter_value(value: Any) -> None:
    if not _finite(value):
        raise ValueError(f"{value!r} is no value of a parameter")


def _state(entry: Mapping[str, Any]) -> None:
    _is(int, entry, "state")
    if "values" not in entry:
        raise ValueError("values are missing")


def _values(entry: Mapping[str, Any], number: int) -> None:
    values = entry.get("values")
    if values is not None and not (isinstance(values, list) and len(values) == number and all(map(_finite, values))):
        raise ValueError(f"{str(values)[:40]} are no values of {number} objectives")


def _user_attribute(entry: Mapping[str, Any]) -> None:
    _attributes(_one(entry, "user_attr"))


def _system_attribute(entry: Mapping[str, Any]) -> None:
    _system(_one(entry, "system_attr"))


def _one(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    attributes = _mapping(entry.get(name), name)
    if len(attributes) != 1:
        raise ValueError(f"{name} has {len(attributes)} attributes in place of one")
    return attributes


def _system(attributes: Mapping[str, Any]) -> None:
    """Optuna's own: the values of an enqueued trial, constraints."""
    for name, value in attributes.items():
        _flat_enough(value)
        if name == FIXED:
            _mapping(value, name)
        if name.startswith("constraints") and not all(map(_finite, value if isinstance(value, list) else [value])):
            raise ValueError(f"{name} is {str(value)[:40]}")


def _attributes(attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        known = _ATTRIBUTES.get(REPEAT if name.startswith(f"{REPEAT} ") else name)
        if known is None:
            _flat_enough(value)
        else:
            known(value)


def _rows(value: Any) -> None:
    if not isinstance(value, list) or not value:
        raise ValueError("a trial's rows are no list of them")
    for row in value:
        check_row(row)
    if {row["trial"] for row in value} != {value[0]["trial"]} or value[0]["point"] != 0:
        raise ValueError("a trial's rows are not those of one trial, its own first")


def _count(value: Any) -> None:
    if value is not None:
        _number({"a number": value}, "a number", 2**31)


def _point_name(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{str(value)[:40]} names no point")
    for number in value:
        _count(number)


def _sums(value: Any) -> None:
    for name, number in _mapping(value, SPENT).items():
        if not _finite(number):
            raise ValueError(f"{name} is {number!r}")


def _identity(value: Any) -> None:
    for part, paths in _mapping(value, IDENTITY).items():
        for path in _mapping(paths, part).values():
            _flat_enough(path)
            if isinstance(path, Mapping):
                _mapping(path.get("attributes", {}), "attributes")


def _repeat(value: Any) -> None:
    check_row(value)
    if not value.get("repeat"):
        raise ValueError("a row of a further seed does not number it")


def _texts(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{str(value)[:40]} is no list of texts")


def _flat_enough(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner: Collection[Any] = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for one in inner:
        _flat_enough(one, depth + 1)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no JSON object")
    return value


def _is(kind: type, entry: Mapping[str, Any], name: str) -> Any:
    if type(entry.get(name)) is not kind:
        raise ValueError(f"{name} is {str(entry.get(name))[:40]!r}")
    return entry[name]


def _number(entry: Mapping[str, Any], name: str, end: int) -> None:
    value = _is(int, entry, name)
    if not 0 <= value < end:
        raise ValueError(f"{name} {value} is none of {end}")


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _within(value) and math.isfinite(value)


_OF_STUDY = (
    JournalOperation.DELETE_STUDY,
    JournalOperation.SET_STUDY_USER_ATTR,
    JournalOperation.SET_STUDY_SYSTEM_ATTR,
    JournalOperation.CREATE_TRIAL,
)
_OF_TRIAL = (
    JournalOperation.SET_TRIAL_PARAM,
    JournalOperation.SET_TRIAL_STATE_VALUES,
    JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
    JournalOperation.SET_TRIAL_USER_ATTR,
    JournalOperation.SET_TRIAL_SYSTEM_ATTR,
)
_FORMS: Mapping[int, Callable[[Mapping[str, Any]], None]] = {
    JournalOperation.SET_STUDY_USER_ATTR: _user_attribute,
    JournalOperation.SET_STUDY_SYSTEM_ATTR: _system_attribute,
    JournalOperation.CREATE_TRIAL: _trial,
    JournalOperation.SET_TRIAL_PARAM: _parameter,
    JournalOperation.SET_TRIAL_STATE_VALUES: _state,
    JournalOperation.SET_TRIAL_USER_ATTR: _user_attribute,
    JournalOperation.SET_TRIAL_SYSTEM_ATTR: _system_attribute,
}
_ATTRIBUTES: Mapping[str, Callable[[Any], None]] = {
    ROWS: _rows,
    REPEAT: _repeat,
    SPENT: _sums,
    IDENTITY: _identity,
    DUPLICATE: _count,
    POINT: _count,
    searchers.TRIAL: _count,
    searchers.DERIVED: _count,
    searchers.ANSWERED: _point_name,
    SOURCES: _texts,
}

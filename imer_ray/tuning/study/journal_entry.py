"""The form of a journal's entries: what Optuna writes, with what a `imer_ray.tuning.study.record.Record` notes in them.

Whoever can write to a study's folder can write anything. What Optuna, the record and the results' writer will make of
an entry is therefore looked at here, where its line is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from imer_ray.tuning import searchers
from imer_ray.tuning.study._optuna import FIXED, JournalOperation
from imer_ray.tuning.study.journal_row import check_row
from imer_ray.tuning.study.json_forms import finite, mapping, typed, whole_below

# User attributes of Optuna's trials and study, beside those that samplers look at (`imer_ray.tuning.searchers`)
ROWS = "rows"  # what goes to results.parquet; set before the trial is told
DUPLICATE = "duplicate"  # set on a proposal that was known already: our number of the trial that it might have been
IDENTITIES = "identities"  # of the rows, and the stamp of the code that worked them out; set before they are
POINT = "point"  # of a derived point, its number in its trial
REPEAT = "repeat"  # followed by trial, point and number: the row of a point that was run with a further seed
LEARNT = "learnt"  # of another study's result: its source, trial and point
SOURCES = "learnt_from"  # of the study: from which others it has learnt
SPENT = "spent"  # of the study: name -> how much of a budget all drivers together have spent
IDENTITY = "identity"  # of the study: what all its trials share
MAX_DEPTH = 16  # of anything nested in an entry


class EntryCheck:
    """Takes a journal's entries, one after another."""

    def __init__(self) -> None:
        self._studies: set[str] = set()
        self._num_objectives = 0
        self._num_trials = 0

    def take(self, entry: Any) -> None:
        """Raises ValueError if an entry has not the form of one, or speaks of what the journal has not created."""
        entry = mapping(entry, "the entry")
        operation = entry.get("op_code")
        if type(operation) is not int or operation not in _OPERATIONS:
            raise ValueError(f"{operation!r} is no operation")
        typed(str, entry, "worker_id")
        if operation == JournalOperation.CREATE_STUDY:
            self._create_study(entry)
        elif operation in _OF_STUDY:
            whole_below(entry, "study_id", len(self._studies))
        elif operation in _OF_TRIAL:
            whole_below(entry, "trial_id", self._num_trials)
        if operation == JournalOperation.CREATE_TRIAL:
            self._num_trials += 1
        if operation in (JournalOperation.CREATE_TRIAL, JournalOperation.SET_TRIAL_STATE_VALUES):
            _values(entry, self._num_objectives)
        if form := _FORMS.get(operation):
            form(entry)

    def _create_study(self, entry: Mapping[str, Any]) -> None:
        name = typed(str, entry, "study_name")
        directions = typed(list, entry, "directions")
        if not self._studies and name != "study":
            raise ValueError(f"a study's journal begins with study, not with {name!r}")
        if any(type(direction) is not int or direction not in (1, 2) for direction in directions):
            raise ValueError(f"{directions} are no directions")
        self._num_objectives = self._num_objectives or len(directions)
        self._studies.add(name)  # once, although earlier versions began it at each opening


def _trial(entry: Mapping[str, Any]) -> None:
    for name in ("user_attrs", "system_attrs", "params", "distributions", "intermediate_values"):
        mapping(entry.get(name, {}), name)
    if (value := entry.get("value")) is not None and not finite(value):
        raise ValueError(f"{value!r} is no value of an objective")
    _attributes(entry.get("user_attrs", {}))
    _system(entry.get("system_attrs", {}))
    for value in entry.get("params", {}).values():
        _parameter_value(value)


def _parameter(entry: Mapping[str, Any]) -> None:
    typed(str, entry, "param_name")
    _parameter_value(entry.get("param_value_internal"))


def _parameter_value(value: Any) -> None:
    if not finite(value):
        raise ValueError(f"{value!r} is no value of a parameter")


def _state(entry: Mapping[str, Any]) -> None:
    typed(int, entry, "state")
    if "values" not in entry:
        raise ValueError("values are missing")


def _values(entry: Mapping[str, Any], number: int) -> None:
    values = entry.get("values")
    if values is not None and not (isinstance(values, list) and len(values) == number and all(map(finite, values))):
        raise ValueError(f"{str(values)[:40]} are no values of {number} objectives")


def _user_attribute(entry: Mapping[str, Any]) -> None:
    _attributes(_one(entry, "user_attr"))


def _system_attribute(entry: Mapping[str, Any]) -> None:
    _system(_one(entry, "system_attr"))


def _one(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    attributes = mapping(entry.get(name), name)
    if len(attributes) != 1:
        raise ValueError(f"{name} has {len(attributes)} attributes in place of one")
    return attributes


def _system(attributes: Mapping[str, Any]) -> None:
    """Optuna's own: the values of an enqueued trial, constraints."""
    for name, value in attributes.items():
        _flat_enough(value)
        if name == FIXED:
            mapping(value, name)
        if name.startswith("constraints") and not all(map(finite, value if isinstance(value, list) else [value])):
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


def _identities(value: Any) -> None:
    noted = mapping(value, IDENTITIES)
    typed(str, noted, "code")
    _texts(noted.get("of"))


def _count(value: Any) -> None:
    if value is not None:
        whole_below({"a number": value}, "a number", 2**31)


def _point_name(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{str(value)[:40]} names no point")
    for number in value:
        _count(number)


def _sums(value: Any) -> None:
    for name, number in mapping(value, SPENT).items():
        if not finite(number):
            raise ValueError(f"{name} is {number!r}")


def _identity(value: Any) -> None:
    for part, paths in mapping(value, IDENTITY).items():
        for path in mapping(paths, part).values():
            _flat_enough(path)
            if isinstance(path, Mapping):
                mapping(path.get("attributes", {}), "attributes")


def _repeat(value: Any) -> None:
    check_row(value)
    if not value.get("repeat"):
        raise ValueError("a row of a further seed does not number it")


def _text(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]} is no text")


def _texts(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{str(value)[:40]} is no list of texts")


def _flat_enough(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner: Collection[Any] = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for one in inner:
        _flat_enough(one, depth + 1)


_OPERATIONS = frozenset(JournalOperation)
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
    IDENTITIES: _identities,
    REPEAT: _repeat,
    SPENT: _sums,
    IDENTITY: _identity,
    DUPLICATE: _count,
    POINT: _count,
    searchers.TRIAL: _count,
    searchers.DERIVED: _count,
    searchers.ANSWERED: _point_name,
    searchers.ORIGIN: _text,
    SOURCES: _texts,
}

"""What all trials of a study share. A study resumed with something else would mix what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from imer_ray.config.resolve import later_settings
from imer_ray.config.tree import flatten
from imer_ray.errors import UserError
from imer_ray.results.schema import Objective
from imer_ray.tuning.objectives.constraints import Constraint
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study.journal_entry import IDENTITY

ELSEWHERE = ("data.path", "plugins")  # where things lie and come from, not what they are


def check_identity(
    study: optuna.Study,
    space: Space,
    base: Mapping[str, Any],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    folder: Path,
) -> None:
    """Note the identity of a new study; compare it with that of an old one.

    Constraints belong to it, because Optuna judges a trial by them once, when it ends.

    Raises:
        UserError: space, base configuration, data, objectives or constraints differ; the message says which and how.
    """
    later = later_settings()  # a study of before them goes on
    configuration = {
        path: value
        for path, value in flatten(base).items()
        if path not in ELSEWHERE and (path not in later or value != later[path])
    }
    identity = {
        "space": space.definition,
        "configuration": configuration,
        "objective": {objective.name: objective.metric for objective in objectives},
        "constraint": {constraint.limit: constraint.bound for constraint in constraints},
    }
    known = study.user_attrs.get(IDENTITY)
    if known is None:
        study.set_user_attr(IDENTITY, identity)
    elif changes := list(_changes(known, json.loads(json.dumps(identity)))):
        lines = "\n".join(f"  {change}" for change in changes)
        advice = (
            "give the old settings again (its config.yaml and space.yaml have them), or choose another study.name; "
            f"study.warm_start={folder} has that one learn from this one's results"
        )
        raise UserError(f"the study in {folder} was begun with other settings:\n{lines}\n{advice}")


def _changes(known: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for part in now:
        before = known.get(part, {})
        for path in sorted(before.keys() | now[part].keys()):
            old, new = before.get(path), now[part].get(path)
            if old != new:
                yield f"{part} {path}: {_words(old)} -> {_words(new)}"


def _words(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, Mapping) and "attributes" in value:  # a distribution
        settings = {**value["attributes"], **({"when": value["when"]} if value.get("when") else {})}
        return ", ".join(f"{k} {v}" for k, v in settings.items() if v not in (None, False))
    return str(value)

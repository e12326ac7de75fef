"""Whether a study's journal still has all that its results.parquet was written from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna

from imer_ray.errors import UserError
from imer_ray.results.schema import RESULTS, read_results
from imer_ray.tuning.study.journal import Journal
from imer_ray.tuning.study.journal_entry import REPEAT, ROWS

Name = tuple[int, int, int, str]


def check_results(journal: Journal, study: optuna.Study | None = None) -> None:
    """The results are written from the journal, so one that knows less would have them overwritten.

    Args:
        study: opened from the journal; None if that is empty.

    Raises:
        UserError: there are results in the journal's folder of which it knows nothing.
    """
    path = journal.path.parent / RESULTS
    if not path.exists():
        return
    known = set(_told(study)) if study is not None else set()
    advice = f"put {journal.path.name} back from a copy, or choose another study.name"
    try:
        frame = read_results(path)
        names = zip(
            frame["trial"], frame["point"], frame.get("repeat", frame["trial"] * 0), frame["config"], strict=True
        )
        rows = {_name(*name) for name in names}
    except (UserError, KeyError, ValueError, TypeError) as error:
        if known:  # from which it is written anew
            return
        advice += f", or move {path} away"
        raise UserError(f"{journal.path} has no result, and {path} cannot be read; {advice}") from error
    if lost := sorted(rows - known):
        said = f"{path} has {len(lost)} rows that {journal.path} does not know, the first of trial {lost[0][0]}"
        advice += f"; study.warm_start={path.parent} has that one learn from these results"
        raise UserError(f"{said}: the journal was emptied, cut off or exchanged; {advice}")


def _told(study: optuna.Study) -> Iterator[Name]:
    for trial in study.get_trials(deepcopy=False):
        yield from (_name_of(row) for row in trial.user_attrs.get(ROWS, ()))
    yield from (_name_of(row) for name, row in study.user_attrs.items() if name.startswith(f"{REPEAT} "))


def _name_of(row: dict[str, Any]) -> Name:
    return _name(row["trial"], row["point"], row.get("repeat"), row["config"])


def _name(trial: Any, point: Any, repeat: Any, config: Any) -> Name:
    return int(trial), int(point), 0 if repeat is None or repeat != repeat else int(repeat), str(config)

"""The table of all trials, failed and stopped ones too, which the page's script sorts and filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from imer_ray.analysis.labels import short
from imer_ray.analysis.page.page import Page, section
from imer_ray.analysis.progress import search_seconds
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.seeds import is_repeat
from imer_ray.results.study import Study

COSTS = {"latency_ms_b1": "ms/clip", "nfe": "NFE", "num_parameters": "parameters"}
DIGITS = 6  # significant ones that numbers are given with, of which three are shown

CONTROLS = """<div class="controls">
<input type="search" placeholder="words to look for" aria-label="Only rows with these words">
<select aria-label="Only rows in this state"></select>
<span class="found" role="status"></span><span class="pages"></span></div>
<div class="scroll" tabindex="0" role="group" aria-label="Trials">
<table><thead><tr></tr></thead><tbody></tbody></table></div>"""


def trials(page: Page, study: Study) -> str:
    """The section; empty where no trial has ended."""
    if study.frame.empty:
        return ""
    columns = [column for column in _columns(study) if any(value is not None for value in column[-1])]
    page.given["trials"] = {
        "columns": [{"name": name, "kind": kind, "unit": unit} for name, kind, unit, _ in columns],
        "rows": [list(row) for row in zip(*(values for *_, values in columns), strict=True)],
    }
    note = (
        "One row per trial, and one per further point that was scored with its networks. A click on a column's head"
        " sorts by it, a second one the other way round; one on a trial pins its point above."
    )
    return section("All trials", f'<div class="trials" id="trials" data-kept>{CONTROLS}</div>', note=note)


def _columns(study: Study) -> Iterator[tuple[str, str, str, list[Any]]]:
    """(name, kind, unit, values) of each column, the rows in the order of trials; kinds are those of trials.js."""
    frame = study.frame[~is_repeat(study.frame)].sort_values(["trial", "point"], kind="stable")
    points = frame["point"].fillna(0).astype(int)
    trials = frame["trial"].astype(int).astype(str)
    yield "trial", "trial", "", (trials + ("." + points.astype(str)).where(points > 0, "")).tolist()
    yield "state", "text", "", frame["status"].astype(str).tolist()
    yield "remark", "remark", "", _remarks(study, frame)
    for axis in study.axes:
        yield axis.name, "number", axis.unit, _numbers(frame[axis.column])
    for column, name in COSTS.items():
        if column not in {axis.column for axis in study.axes} and frame[column].notna().any():
            yield name, "count" if column == "nfe" else "number", "", _numbers(frame[column])
    for path in study.settings:
        yield short(path), "setting", "", _plain(frame[CONFIG_PREFIX + path])
    began, ended = (search_seconds(study.frame, frame[moment]) for moment in ("started", "finished"))
    yield "began after", "seconds", "", _numbers(pd.Series(began))
    yield "took", "seconds", "", _numbers(pd.Series(ended - began))


def _remarks(study: Study, frame: pd.DataFrame) -> list[str | None]:
    """That a row is on the front, and the pick that it is; that it broke a constraint; why it failed."""
    said = {_key(row): "breaks a constraint" for row in study.infeasible[["trial", "point"]].itertuples(index=False)}
    said |= {_key(row): "front" for row in study.front[["trial", "point"]].itertuples(index=False)}
    for name, index in study.picks.items() if len(study.points) else ():
        said[_key(study.points.loc[index, ["trial", "point"]])] = f"front, {name}"
    rows = frame[["trial", "point", "error"]].itertuples(index=False)
    return [said.get(_key((trial, point))) if pd.isna(error) else str(error) for trial, point, error in rows]


def _key(row: Any) -> tuple[float, float]:  # noqa: ANN401 (a pair of pandas)
    trial, point = row
    return float(trial), 0.0 if pd.isna(point) else float(point)


def _numbers(values: pd.Series) -> list[float | None]:
    return [None if pd.isna(value) else float(f"{value:.{DIGITS}g}") for value in values]


def _plain(values: pd.Series) -> list[Any]:
    """As JSON has them: text, booleans, and numbers, whole ones without a point."""
    return [None if pd.isna(value) else _rounded(value) for value in values.tolist()]


def _rounded(value: Any) -> Any:  # noqa: ANN401 (whatever a setting is)
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.{DIGITS}g}")
    return value if isinstance(value, (bool, int)) else str(value)

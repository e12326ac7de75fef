"""The picker: budgets of speed, size and quality, and what of the results its script needs to pick within them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

from imer_ray.analysis.page.page import Page
from imer_ray.results.axes import COST_AXES, Axis
from imer_ray.results.schema import COLUMNS, OBJECTIVE_PREFIX
from imer_ray.results.study import Study

RULES = (  # what `imer_ray.results.pareto.picks` calls them, and how the page does
    ("auto", "automatic"),
    ("quality", "best quality"),
    ("knee", "best compromise"),
    ("speed", "fastest"),
)
COSTS = ("speedup_vs_imder", "latency_ms", "latency_ms_b1", "clips_per_s", "flops_per_clip", "nfe")
AS_JSON = ("config", "rungs", "stages", "executors", "versions")  # columns that hold JSON
NOT_IN_RESULTS = ("rank",)  # that `Study.points` adds and the page shows in words

Values = list[Any] | Any


def picker(page: Page, study: Study) -> str:
    """The form over the chart; empty where there is nothing to choose between."""
    if len(study.points) < 2:
        return ""
    rows = [found for axes in _budgets(study) if (found := [axis for axis in axes if _differs(study, axis)])]
    page.given["picking"] = {
        "study": study.name,
        "quality": dataclasses.asdict(study.quality),
        "speed": dataclasses.asdict(study.speed),
        "also": [dataclasses.asdict(axis) for axis in study.also],
        "objectives": study.objectives,
        "budgets": [[dataclasses.asdict(axis) for axis in axes] for axes in rows],
    }
    page.given["results"] = columns(study.points)
    rules = "".join(
        f'<label><input type="radio" name="rule" value="{rule}"{" checked" * (rule == "auto")}> {said}</label>'
        for rule, said in (*RULES, *_further_rules(study))
    )
    return (
        '<form class="picker" id="picker" data-kept aria-label="Pick within budgets"><div class="budgets">'
        + "".join(_budget(i, axes) for i, axes in enumerate(rows))
        + f'</div><fieldset class="rules"><legend>Pick the</legend>{rules}</fieldset>'
        '<p class="picked" id="picked" role="status"></p>'
        '<p class="actions"><button type="button" id="pin-pick">Pin this pick</button>'
        '<button type="reset">No budgets</button><button type="button" id="download"></button></p></form>'
    )


def columns(points: pd.DataFrame) -> dict[str, Values]:
    """Columns of results.parquet as JSON has them, of the points in their order; a single value where all have it.

    Left out are columns without any value, and those that hold JSON. Beside them stands what a mean over seeds has: the
    number of seeds and the ends of its interval.
    """
    known = [column for column in points if column not in (*AS_JSON, *NOT_IN_RESULTS) and points[column].notna().any()]
    order = {column: i for i, column in enumerate(COLUMNS)}
    return {str(c): _values(points[c]) for c in sorted(known, key=lambda c: order.get(c, len(order)))}


def _values(column: pd.Series) -> Values:
    values = [_plain(value) for value in column]
    return values[0] if all(value == values[0] for value in values) else values


def _plain(value: Any) -> Any:
    if value is None or pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    return int(value) if isinstance(value, float) and abs(value) < 2**53 and value.is_integer() else value


def _budgets(study: Study) -> Iterable[list[Axis]]:
    """What may be bounded, row by row; of a row's measures one at a time."""
    costs = dict.fromkeys((study.speed.column, *COSTS))
    yield [study.speed if column == study.speed.column else COST_AXES[column] for column in costs]
    yield [] if study.speed.column == "num_parameters" else [COST_AXES["num_parameters"]]
    yield [study.quality]
    for axis in study.also:
        if axis.column not in COST_AXES:
            yield [axis]


def _further_rules(study: Study) -> Iterable[tuple[str, str]]:
    """Picks of the further objectives, which have their names."""
    for axis, column in zip(study.also, study.objectives[2:], strict=True):
        yield escape(column.removeprefix(OBJECTIVE_PREFIX)), f"best {escape(axis.name)}"


def _differs(study: Study, axis: Axis) -> bool:
    return axis.column in study.points and study.points[axis.column].nunique() > 1


def _budget(i: int, axes: list[Axis]) -> str:
    """One bound: of what, a slider over the values that occur, and a field for any other."""
    what = f'<span id="budget{i}">{escape(axes[0].label)}</span>'
    if len(axes) > 1:
        options = "".join(f'<option value="{j}">{escape(axis.label)}</option>' for j, axis in enumerate(axes))
        what = f'<select id="budget{i}" aria-label="Measure of speed">{options}</select>'
    return (
        f'<div class="budget">{what}<div><span class="side"></span>'
        f'<input type="range" aria-labelledby="budget{i}"><input type="number" step="any" placeholder="any"'
        f' aria-labelledby="budget{i}"></div></div>'
    )

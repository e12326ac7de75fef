"""What the charts share: axes, lines, and a point in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from imer_ray.analysis.labels import ABSENT, cost, interval, measured, number, settings_of, short, title, with_encoder
from imer_ray.results.axes import Axis
from imer_ray.results.seeds import NUM_SEEDS
from imer_ray.results.study import Study
from imer_ray.results.text_encoder import ENCODER, SHAPES

Chart = dict[str, Any]
INK, MUTED, FAINT, PAPER = "var(--ink)", "var(--muted)", "var(--faint)", "var(--paper)"
POINT_TRACE = "points"  # a trace whose customdata are ids of points: the page's script gives it their hover text
LINE_TRACE = "lines"  # a trace whose customdata are ids of points, which the script draws from the chart's lines
COST_NAMES = {"speedup_vs_imder": "speedup", "latency_ms_b1": "ms/clip", "nfe": "NFE", "num_parameters": "parameters"}


def colour(name: str) -> str:
    return f"var(--{name})"


def point_id(study: Study, index: int) -> str:
    return f"{study.name}/{index}"


def best_compromise(study: Study) -> str:
    """The point that the page shows first: the knee, or where that is an end of the front, this end."""
    return point_id(study, study.picks.get("knee", study.front.index[0]))


def describe(study: Study) -> dict[str, Chart]:
    """id -> what the page says of each point: beside its mark, and in the panel."""
    pick_of = {index: pick for pick, index in study.picks.items()}
    said = {}
    for index, row in zip(study.points.index, study.points.to_dict("records"), strict=True):
        pick = pick_of.get(index)
        said[point_id(study, index)] = {
            "title": title(row),
            "place": place(row),
            "pick": pick,
            "measured": measurements(study, row),
            "settings": [(short(path), value) for path, value in settings_of(study, row)],
            "name": title(row).removeprefix("trial "),
        }
    return said


def place(row: pd.Series) -> str:
    return "on the Pareto front" if row["rank"] == 0 else f"non-domination rank {row['rank']}"


def measurements(study: Study, row: pd.Series) -> list[tuple[str, str]]:
    """(name, value) of the objectives and the other costs of a point, with the intervals that are known."""
    found = []
    for axis in study.axes:
        found.append((axis.name, measured(axis, row[axis.column])))
        if (ends := interval(axis, row)) != ABSENT:
            found.append(("95 %", ends))
        found += _with_encoder(study, axis.column, row)
    if row[NUM_SEEDS] > 1:
        found.append(("seeds", f"{row[NUM_SEEDS]:.0f}"))
    objectives = {axis.column for axis in study.axes}
    others = [column for column in COST_NAMES if column not in objectives and pd.notna(row[column])]
    for column in others:
        found += [(COST_NAMES[column], cost(column, row[column])), *_with_encoder(study, column, row)]
    return found


def _with_encoder(study: Study, column: str, row: pd.Series) -> list[tuple[str, str]]:
    return [(f"with {ENCODER}", with_encoder(study, column, row[column]))] if column in SHAPES else []


def plain_axis(label: str, **more: Any) -> Chart:  # noqa: ANN401 (whatever Plotly's axis takes)
    return {"title": {"text": label}, "automargin": True, **more}


def objective_axis(axis: Axis, values: Iterable[float]) -> Chart:
    """An objective's axis with better to the right, or up, and room around the values for names."""
    known = [float(value) for value in values if pd.notna(value) and math.isfinite(value)]
    low, high = (math.log10(bound) if axis.log else bound for bound in (min(known), max(known)))
    pad = 0.08 * (high - low) or 0.1
    ends = [low - pad, high + 2 * pad] if axis.higher_is_better else [high + pad, low - 2 * pad]
    made = plain_axis(axis.label, range=ends)
    if axis.log:  # 1, 2, 5, 10, ... in full, which Plotly would shorten
        decades = range(math.floor(low) - 1, math.ceil(high) + 1)
        ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        made |= {"type": "log", "tickvals": ticks, "ticktext": [f"{t:g}" if t < 1e6 else number(t, 1) for t in ticks]}
    return made


def lines(x: Iterable[float], y: Iterable[float], name: str, shape: str) -> Chart:
    """A line of steps."""
    line = {"color": colour(name), "width": 2, "shape": shape}
    return {"type": "scatter", "mode": "lines", "x": numbers(x), "y": numbers(y), "line": line}


def numbers(values: Iterable[float]) -> list[float | None]:
    """As JSON has them: what was not measured, or is not finite, is null."""
    return [None if pd.isna(value) or math.isinf(value) else float(value) for value in values]

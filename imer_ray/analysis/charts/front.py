"""Charts of one or several studies' fronts: quality against speed, and hypervolume over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from imer_ray.analysis import progress
from imer_ray.analysis.charts.parts import (
    INK,
    MUTED,
    POINT_TRACE,
    Chart,
    colour,
    lines,
    numbers,
    objective_axis,
    plain_axis,
    point_id,
)
from imer_ray.analysis.charts.seeds import error_bars
from imer_ray.analysis.figures.study import baseline_places, sizes
from imer_ray.analysis.labels import measured, title
from imer_ray.analysis.style import MARKS, Groups, looks, series
from imer_ray.results.axes import Axis
from imer_ray.results.study import Study

OUTSIDE = 0.15  # opacity of points outside the budgets


def pareto(studies: Sequence[Study]) -> Chart:
    """Quality against speed; up and right is better."""
    several = len(studies) > 1
    quality, speed = studies[0].quality, studies[0].speed
    colours, marks = looks(studies)
    names = [study.name for study in studies] if several else colours.names or ["points"]
    data: list[Chart] = []
    for i, study in enumerate(studies):
        front = study.stairs
        line = lines(front[speed.column], front[quality.column], series(i) if several else "ink", "vh")
        name = "front of quality and speed" if study.also else "Pareto front"
        name = f"front of {study.name}" if several else name
        data.append(line | {"name": escape(name), "hoverinfo": "skip", "showlegend": not several})
        data += error_bars(study)
        group_of_point = study.points.apply(colours, axis=1)
        for j in [i] if several else sorted(group_of_point.unique()):
            some = study.points if several else study.points[group_of_point == j]
            data.append(_points(study, some, names[j], series(j), marks))
    data += [_legend(name, colour(series(i)), "circle", name) for i, name in enumerate(names)]
    data += [_legend(name, MUTED, MARKS[i % len(MARKS)][1]) for i, name in enumerate(marks.names)]
    data += [_infeasible(study) for study in studies if len(study.infeasible)]
    baselines = baseline_places(studies)
    if baselines:
        data.append(_baselines(baselines, quality, speed))
    if not several:
        data.append(_pick_names(studies[0]))
    places = [*baselines.values()]
    for study in studies:
        for some in (study.points, study.infeasible):
            places += list(zip(some[speed.column], some[quality.column], strict=True))
    xs, ys = ([place[i] for place in places] for i in (0, 1))
    relative = speed.unit == "×"
    xaxis, yaxis = objective_axis(speed, [*xs, 1.0] if relative else xs), objective_axis(quality, ys)
    layout: Chart = {
        "xaxis": xaxis,
        "yaxis": yaxis,
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
        "margin": {"l": 12, "r": 22, "t": 16, "b": 12},
    }
    if relative:
        dashed = {"color": MUTED, "width": 1, "dash": "dash"}
        reference = {"type": "scatter", "mode": "lines", "x": [1, 1], "y": yaxis["range"], "line": dashed}
        data.insert(0, reference | {"hoverinfo": "skip", "showlegend": False})
        note = {"text": "IMDer, 100 steps", "x": 0, "y": 0, "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        layout["annotations"] = [note | {"showarrow": False, "xshift": 4, "font": {"size": 11, "color": MUTED}}]
    return {"data": data, "layout": layout}


def hypervolume(studies: Sequence[Study]) -> Chart:
    """Hypervolume up to the fixed reference point over the minutes in which trials ran."""
    reference = progress.common_reference(studies)
    data = []
    lowest, highest = math.inf, 0.0
    for i, study in enumerate(studies):
        minutes, values = progress.hypervolume_over_time(study, reference)
        lowest, highest = min(lowest, values[1]), max(highest, values[-1])
        names = ["start", *(title(row) for row in study.points.to_dict("records")), "end"]
        data.append(
            lines(minutes, values, series(i), "hv")
            | {"name": study.name, "text": names, "showlegend": len(studies) > 1}
            | {"hovertemplate": "%{text}<br>after %{x:.2f} min<br>hypervolume <b>%{y:.4f}</b><extra></extra>"}
        )
    gain = highest - lowest or highest or 1.0
    layout = {
        "xaxis": plain_axis("search time (min)", rangemode="tozero"),
        "yaxis": plain_axis("hypervolume", range=[max(0.0, lowest - 0.5 * gain), highest + 0.1 * gain]),
        "legend": {"x": 1, "xanchor": "right", "y": 0.02, "yanchor": "bottom"},
    }
    return {"data": data, "layout": layout}


def _legend(name: str, shade: str, symbol: str, group: str | None = None) -> Chart:
    """A legend entry without points; with a group, a click on it hides the group's points."""
    entry = {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": escape(name)}
    marker = {"marker": {"symbol": symbol, "size": 9, "color": shade}}
    return entry | marker | ({"legendgroup": escape(group)} if group else {})


def _baselines(places: Mapping[str, tuple[float, float]], quality: Axis, speed: Axis) -> Chart:
    said = (
        f"<b>%{{text}}</b><br>{quality.name} <b>%{{y:.3f}}</b><br>{speed.name} <b>%{{x}}{speed.unit}</b><extra></extra>"
    )
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": "baselines",
        "x": [x for x, _ in places.values()],
        "y": [y for _, y in places.values()],
        "text": [f"&nbsp;{escape(name)}" for name in places],
        "textposition": "middle right",
        "textfont": {"color": MUTED, "size": 11},
        "cliponaxis": False,
        "marker": {"symbol": "diamond-open", "size": 11, "color": INK, "line": {"width": 2}},
        "hovertemplate": said,
    }


def _points(study: Study, some: pd.DataFrame, name: str, series_name: str, marks: Groups) -> Chart:
    on_front = (some["rank"] == 0).tolist()
    marker = {
        "color": colour(series_name),
        "symbol": [MARKS[marks(row) % len(MARKS)][1] for row in some.to_dict("records")],
        "size": sizes(study, some, 8.0, (9.0, 24.0) if study.also else (13.0, 13.0)),
        "opacity": [1.0 if front else 0.45 for front in on_front],
        "line": {"color": INK, "width": [1.5 if front else 0.0 for front in on_front]},
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "legendgroup": escape(name),
        "showlegend": False,
        "x": numbers(some[study.speed.column]),
        "y": numbers(some[study.quality.column]),
        "customdata": [point_id(study, index) for index in some.index],
        "meta": POINT_TRACE,
        "marker": marker,
        "unselected": {"marker": {"opacity": OUTSIDE}},
    }


def _infeasible(study: Study) -> Chart:
    """Points that nobody may choose."""
    some, axes, limits = study.infeasible, (study.quality, study.speed), escape(" · ".join(study.constraints))
    said = []
    for _, row in some.iterrows():
        values = ", ".join(f"{axis.name} {measured(axis, row[axis.column])}" for axis in axes)
        said.append(f"<b>{title(row)}</b><br>{values}<br>breaks {limits}")
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "breaks a constraint",
        "x": numbers(some[study.speed.column]),
        "y": numbers(some[study.quality.column]),
        "text": said,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "x-thin-open", "size": 7, "color": MUTED, "line": {"color": MUTED, "width": 1.2}},
    }


def _pick_names(study: Study) -> Chart:
    picked = study.points.loc[list(study.picks.values())]
    return {
        "type": "scatter",
        "mode": "text",
        "x": numbers(picked[study.speed.column]),
        "y": numbers(picked[study.quality.column]),
        "text": [f"&nbsp;&nbsp;<b>{name}</b>" for name in study.picks],
        "textposition": "top right",
        "textfont": {"size": 12, "color": INK},
        "cliponaxis": False,
        "hoverinfo": "skip",
        "showlegend": False,
    }

"""Charts of one study: its settings, their importance, the missing patterns and the course of its trials."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd

from imer_ray.analysis import parallel as coordinates
from imer_ray.analysis import progress
from imer_ray.analysis.charts.parts import (
    FAINT,
    INK,
    LINE_TRACE,
    MUTED,
    PAPER,
    POINT_TRACE,
    Chart,
    colour,
    numbers,
    plain_axis,
    point_id,
)
from imer_ray.analysis.labels import short
from imer_ray.analysis.settings_curve import curve
from imer_ray.analysis.style import FURTHER_PICK, MARKS, PICK_SERIES, STATUS_SERIES
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.study import Study


def parallel(study: Study, settings: list[str]) -> Chart:
    """One line per point across settings, quality and speed; of very many points a sample of those behind the front.

    ``lines`` has the heights of all, by point: the script draws the traces from it, and lights up the one pointed at.
    """
    axes = coordinates.axes(study, settings)
    heights = np.column_stack([axis.heights for axis in axes]).round(4)
    x = list(range(len(axes)))
    on_front = (study.points["rank"] == 0).to_numpy()
    data = []
    for name, chosen, shade, width in (
        ("others", coordinates.sample(~on_front), FAINT, 0.8),
        ("front", on_front.nonzero()[0], colour("series0"), 2),
    ):
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "customdata": [point_id(study, i) for i in study.points.index[chosen]],
                "meta": LINE_TRACE,
                "line": {"color": shade, "width": width},
                "marker": {"size": 4, "color": shade},
            }
        )
    small = {
        "showarrow": False,
        "bgcolor": PAPER,
        "borderpad": 1,
        "opacity": 0.85,
        "font": {"size": 10.5, "color": MUTED},
        "xanchor": "left",
        "xshift": 5,
    }
    names = [
        {
            "text": f"<b>{escape(axis.label)}</b>",
            "x": i,
            "y": 1.06 + 0.09 * (i % 2),
            "showarrow": False,
            "yanchor": "bottom",
        }
        for i, axis in enumerate(axes)
    ]
    ticks = [small | {"text": escape(t), "x": i, "y": y} for i, axis in enumerate(axes) for y, t in axis.ticks.items()]
    rule = {"type": "line", "y0": 0, "y1": 1, "layer": "below", "line": {"color": MUTED, "width": 1}}
    layout = {
        "xaxis": {"visible": False, "range": [-0.3, len(axes) - 0.4], "fixedrange": True},
        "yaxis": {"visible": False, "range": [coordinates.ABSENT_AT - 0.05, 1.3], "fixedrange": True},
        "annotations": names + ticks,
        "shapes": [rule | {"x0": i, "x1": i} for i in x],
        "showlegend": False,
        "hovermode": "closest",
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
    }
    lines = dict(zip((point_id(study, i) for i in study.points.index), heights.tolist(), strict=True))
    return {"data": data, "layout": layout, "lines": lines}


def panel(study: Study, path: str) -> Chart:
    """Quality against one setting: every point, to be pointed at, and the mean over points."""
    values, quality = study.points[CONFIG_PREFIX + path], study.points[study.quality.column]
    known = values.notna()
    found = curve(values, quality)
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    x = (lambda column: numbers(column)) if numeric else (lambda column: [str(value) for value in column])
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": x(values[known]),
        "y": numbers(quality[known]),
        "customdata": [point_id(study, i) for i in study.points.index[known]],
        "meta": POINT_TRACE,
        "marker": {"size": 6, "color": MUTED, "opacity": 0.45},
    }
    mean = {
        "type": "scatter",
        "mode": "lines+markers" if numeric else "markers",
        "x": x(found["x"]),
        "y": numbers(found["mean"]),
        "line": {"color": colour("series0"), "width": 2},
        "hovertemplate": "mean at %{x:.3g}: <b>%{y:.3f}</b><extra></extra>",
    }
    xaxis = plain_axis(short(path)) | ({} if numeric else {"type": "category"})
    yaxis = plain_axis(study.quality.name) | ({} if study.quality.higher_is_better else {"autorange": "reversed"})
    return {"data": [points, mean], "layout": {"xaxis": xaxis, "yaxis": yaxis, "showlegend": False}}


def importance(found: pd.DataFrame, series_name: str) -> Chart:
    """Share of an objective's variance that each setting explains; grey is what is not told from chance."""
    ordered = found.sort_values("share", kind="stable")
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": (100 * ordered["share"]).round(2).tolist(),
        "y": [short(path) for path in ordered.index],
        "text": ["" if told else "not told from chance" for told in ordered["told"]],
        "textposition": "none",
        "marker": {"color": [colour(series_name) if told else FAINT for told in ordered["told"]]},
        "hovertemplate": "%{y}: <b>%{x:.1f} %</b> %{text}<extra></extra>",
    }
    return {
        "data": [bars],
        "layout": {
            "xaxis": plain_axis("variance explained (%)", rangemode="tozero"),
            "yaxis": {"automargin": True, "showgrid": False},
        },
    }


def patterns(study: Study) -> Chart:
    """Quality for each setting of the protocol: picked points of the front as bars, baselines as marks."""
    columns = list(study.patterns.values())
    data: list[Chart] = []
    for name, index in study.picks.items():
        row = study.points.loc[index]
        data.append(
            {
                "type": "bar",
                "name": name,
                "x": list(study.patterns),
                "y": numbers(row[columns]),
                "marker": {"color": colour(PICK_SERIES.get(name, FURTHER_PICK))},
                "hovertemplate": f"%{{x}}<br>{name}: <b>%{{y:.3f}}</b><extra></extra>",
            }
        )
    for i, (name, values) in enumerate(study.baselines.items()):
        if any(column in values for column in columns):
            mark = {"symbol": MARKS[(i + 3) % len(MARKS)][1] + "-open", "size": 9, "color": INK, "line": {"width": 2}}
            data.append(
                {"type": "scatter", "mode": "markers", "name": escape(name), "x": list(study.patterns), "marker": mark}
                | {"y": [values.get(column) for column in columns]}
                | {"hovertemplate": f"%{{x}}<br>{escape(name)}: <b>%{{y:.3f}}</b><extra></extra>"}
            )
    xaxis = plain_axis("missing rate" if study.at_rates else "available modalities", type="category", showgrid=False)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return {
        "data": data,
        "layout": {"xaxis": xaxis, "yaxis": plain_axis(study.quality.name), "barmode": "group", "legend": legend},
    }


def timeline(study: Study) -> Chart:
    """Each trial from start to end in minutes in which trials ran."""
    trials = progress.trials(study)
    data = []
    for status, name in STATUS_SERIES.items():
        some = trials[trials["status"] == status]
        text = [
            f"<b>trial {i}</b> {status}<br>{row.started:.2f} to {row.finished:.2f} min<br>{row.points} points"
            for i, row in some.iterrows()
        ]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "width": 0.75,
                "name": f"{status} ({len(some)})",
                "base": numbers(some["started"]),
                "x": numbers(some["finished"] - some["started"]),
                "y": some.index.tolist(),
                "hovertext": text,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "marker": {"color": colour(name)},
                "visible": bool(len(some)),
            }
        )
    first, last = int(trials.index.min()), int(trials.index.max())
    layout = {
        "barmode": "overlay",
        "xaxis": plain_axis("search time (min)", rangemode="tozero"),
        "yaxis": plain_axis(
            "trial", range=[last + 0.8, first - 0.8], dtick=1 + (last - first) // 8, tick0=0, showgrid=False
        ),
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    return {"data": data, "layout": layout}

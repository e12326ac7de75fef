"""Charts of what several seeds give: error bars, and the surfaces that shares of the seeds attain."""

from __future__ import annotations

import pandas as pd

from imer_ray.analysis.charts.parts import INK, MUTED, Chart, lines, numbers, objective_axis
from imer_ray.analysis.spread import error_bar, repeated_points, surfaces
from imer_ray.analysis.style import series
from imer_ray.results.study import Study

DASHES = ("dot", "solid", "dash")


def error_bars(study: Study) -> list[Chart]:
    """The intervals of the points that were run with several seeds, as a trace without marks of its own."""
    points = repeated_points(study)
    if points.empty:
        return []
    bars = {}
    for name, axis in (("error_x", study.speed), ("error_y", study.quality)):
        below, above = error_bar(axis, points)
        look = {"type": "data", "symmetric": False, "color": MUTED, "thickness": 1, "width": 3}
        bars[name] = look | {"array": numbers(above), "arrayminus": numbers(below)}
    return [_marks(study, points, opacity=0) | bars]


def attainment(study: Study) -> Chart | None:
    """What a quarter, half and three quarters of the seeds attain; None where there are too few seeds."""
    found = surfaces(study)
    if not found:
        return None
    data = []
    for i, (level, corners) in enumerate(found.items()):
        line = lines(corners["speed"], corners["quality"], series(i), "vh")
        line["line"] |= {"dash": DASHES[i]}
        said = f"attained by at least {100 * level:.0f} % of the seeds<br>"
        said += f"{study.quality.name} <b>%{{y:.3f}}</b> at {study.speed.name} <b>%{{x:.3g}}</b><extra></extra>"
        data.append(line | {"name": f"{100 * level:.0f} % of the seeds", "hovertemplate": said})
    data += [*error_bars(study), _marks(study, study.front, opacity=1)]
    xs, ys = (
        pd.concat([*(corners[name] for corners in found.values()), study.front[axis.column]])
        for name, axis in (("speed", study.speed), ("quality", study.quality))
    )
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    axes = {"xaxis": objective_axis(study.speed, xs), "yaxis": objective_axis(study.quality, ys)}
    return {"data": data, "layout": {**axes, "legend": legend}}


def _marks(study: Study, points: pd.DataFrame, opacity: float) -> Chart:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(points[study.speed.column]),
        "y": numbers(points[study.quality.column]),
        "marker": {"color": INK, "size": 7, "opacity": opacity},
        "hoverinfo": "skip",
        "showlegend": False,
    }

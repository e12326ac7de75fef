"""The runs of a study's stages on the machines that they ran on, to be pointed at."""

from __future__ import annotations

from html import escape

import pandas as pd

from imer_ray.analysis.charts.parts import INK, MUTED, PAPER, Chart, colour, numbers, plain_axis
from imer_ray.analysis.labels import duration
from imer_ray.analysis.lanes import CUT_SHORT, STORE, Lanes
from imer_ray.analysis.style import NUM_SERIES, series


def lanes(made: Lanes) -> Chart:
    """A bar per run, coloured by the kind of stage; how many trials reused it stands inside."""
    data = []
    for i, kind in enumerate(made.kinds):
        some = made.of(kind)
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "width": 0.8,
                "name": escape(kind),
                "base": numbers(some["start"]),
                "x": numbers(some["end"] - some["start"]),
                "y": some["place"].tolist(),
                "text": [f"{n}×" if n else "" for n in some["reused"]],
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "hovertext": _said(some),
                "hovertemplate": "%{hovertext}<extra></extra>",
                "marker": {
                    "color": colour(series(i)) if i < NUM_SERIES else MUTED,
                    "line": {"color": PAPER, "width": 0.5},
                    "pattern": {"shape": ["/" if s in CUT_SHORT else "" for s in some["status"]]},
                },
            }
        )
    if len(found := made.found):
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": STORE,
                "x": numbers(found["start"]),
                "y": found["place"].tolist(),
                "marker": {"symbol": "diamond-open", "size": 7, "color": INK},
                "hovertext": _said(found),
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        )
    yaxis = plain_axis("", tickvals=list(made.names.values()), ticktext=[escape(name) for name in made.names])
    layout = {
        "barmode": "overlay",
        "uniformtext": {"minsize": 9, "mode": "hide"},  # a number that does not fit is not shrunk to a dot
        "xaxis": plain_axis("search time (min)", rangemode="tozero"),
        "yaxis": yaxis | {"range": [made.num_places - 0.4, -0.6], "showgrid": False},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    return {"data": data, "layout": layout}


def _said(runs: pd.DataFrame) -> list[str]:
    return [
        f"<b>{escape(run.stage)}</b> {run.status}<br>{escape(run.waiters) or 'asked for by another stage'}"
        f"<br>{duration(run.seconds)}, {run.start:.2f} to {run.end:.2f} min"
        + (f"<br>reused {run.reused} times" if run.reused else "")
        + (f"<br>epoch {run.epoch} of {run.num_epochs}" if run.num_epochs else "")
        for run in runs.itertuples()
    ]

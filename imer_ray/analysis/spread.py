"""How far seeds are apart: error bars of points, and the surfaces that shares of the seeds attain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from imer_ray.analysis.figures.canvas import COLUMN, figure, house_style, speed_scale
from imer_ray.analysis.style import LIGHT, series
from imer_ray.results.attainment import LEVELS, MIN_SEEDS, attainment_surface
from imer_ray.results.axes import SPEED, Axis
from imer_ray.results.seeds import NUM_SEEDS, bounds
from imer_ray.results.study import Study

LINES = ((0, (1, 1)), "-", (0, (5, 1.5)))  # one per level, so that they are told apart without colour


def repeated_points(study: Study) -> pd.DataFrame:
    """The points that were run with several seeds."""
    return study.points[study.points[NUM_SEEDS] > 1]


def error_bar(axis: Axis, points: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the intervals of the points' means reach below and above them."""
    low, high = bounds(axis.column)
    mean = points[axis.column].to_numpy(float)
    return mean - points[low].to_numpy(float), points[high].to_numpy(float) - mean


def surfaces(study: Study) -> dict[float, pd.DataFrame]:
    """Share of the seeds -> corners (``speed``, ``quality``, faster last) of what so many attain at least in these two.

    Empty below `MIN_SEEDS` seeds.
    """
    values, _ = study.on_each_seed
    if len(values) < MIN_SEEDS:
        return {}
    signs = [-1 if axis.higher_is_better else 1 for axis in (study.speed, study.quality)]
    corners = {level: attainment_surface(values[..., :2], level)[::-1] * signs for level in LEVELS}
    return {level: pd.DataFrame(found, columns=["speed", "quality"]) for level, found in corners.items()}


def draw_error_bars(ax: Axes, study: Study) -> None:
    points = repeated_points(study)
    if len(points):
        speed, quality = (error_bar(axis, points) for axis in (study.speed, study.quality))
        at = points[study.speed.column], points[study.quality.column]
        ax.errorbar(*at, xerr=speed, yerr=quality, fmt="none", ecolor=LIGHT["muted"], elinewidth=0.7, zorder=3)


@house_style
def attainment(study: Study) -> Figure | None:
    """What a quarter, half and three quarters of the seeds attain; None where there are too few seeds."""
    found = surfaces(study)
    if not found:
        return None
    fig, ax = figure(COLUMN, 3.2)
    for i, (level, corners) in enumerate(found.items()):
        look = {"color": LIGHT[series(i)], "linestyle": LINES[i], "linewidth": 1.2, "drawstyle": "steps-pre"}
        ax.plot(corners["speed"], corners["quality"], label=f"{100 * level:.0f} % of the seeds", **look)
    front = study.front.sort_values(SPEED)
    ax.plot(front[study.speed.column], front[study.quality.column], "o", markersize=3.5, color=LIGHT["ink"], zorder=4)
    draw_error_bars(ax, study)
    ax.margins(0.1)
    speed_scale(ax, study.speed)
    ax.set_ylabel(study.quality.label)
    if not study.quality.higher_is_better:
        ax.invert_yaxis()
    fig.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
    return fig

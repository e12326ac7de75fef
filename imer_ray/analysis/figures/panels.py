"""Quality against single settings of a study, such as loss weights (after RoHyDR, Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from imer_ray.analysis.figures.canvas import COLUMN, PAGE, figure, house_style
from imer_ray.analysis.labels import number, setting, short
from imer_ray.analysis.settings_curve import SYMBOLS, curve
from imer_ray.analysis.style import LIGHT
from imer_ray.results.axes import Axis
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.study import Study

MAX_COLUMNS = 3
MAX_TICKS = 6
LOG_FROM = 15.0  # ratio of the upper to the lower tenth of the values from which an axis is logarithmic


@house_style
def panels(study: Study, paths: Sequence[str]) -> Figure | None:
    """One panel per setting: every point, and the mean over points with its 95 % interval."""
    if study.points.empty or not paths:
        return None
    ncols = min(MAX_COLUMNS, len(paths))
    nrows = -(-len(paths) // ncols)
    fig, axes = figure(COLUMN if ncols == 1 else PAGE, 0.35 + 2.0 * nrows, ncols=ncols, nrows=nrows, sharey=True)
    flat = list(np.ravel(axes))
    for ax, path in zip(flat, paths, strict=False):
        _panel(ax, study.points[CONFIG_PREFIX + path], study.points[study.quality.column], path)
    for ax in flat[len(paths) :]:
        ax.set_axis_off()
    if not study.quality.higher_is_better:
        flat[0].invert_yaxis()
    for ax in flat[::ncols]:
        ax.set_ylabel(_label(study.quality, nrows))
    return fig


def _panel(ax: Axes, values: pd.Series, quality: pd.Series, path: str) -> None:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not numeric:  # names stand side by side, in alphabetical order
        names = sorted(values.dropna().astype(str).unique())
        values = values.astype(str).map({name: i for i, name in enumerate(names)})
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    found = curve(values, quality)
    x = found["x"].to_numpy(dtype=float)
    colour = LIGHT["series0"]
    ax.scatter(values.astype(float), quality, s=7, color=LIGHT["muted"], alpha=0.35, linewidths=0, zorder=2)
    if numeric:
        ax.fill_between(x, found["low"], found["high"], color=colour, alpha=0.18, linewidth=0, zorder=3)
    else:
        gaps = np.stack([found["mean"] - found["low"], found["high"] - found["mean"]])
        ax.errorbar(x, found["mean"], np.nan_to_num(gaps), fmt="none", ecolor=colour, elinewidth=1.0, zorder=3)
    line = "-" if numeric else ""
    ax.plot(x, found["mean"], linestyle=line, marker="o", color=colour, linewidth=1.3, markersize=3.5, zorder=4)
    ax.set_xlabel(SYMBOLS.get(path, short(path)), parse_math=path in SYMBOLS)
    if numeric:
        _scale(ax, np.sort(values.dropna().astype(float).unique()))


def _scale(ax: Axes, values: NDArray[np.float64]) -> None:
    """Logarithmic where positive values span much; a tick at each value where they are few and apart."""
    low, high = values[0], values[-1]
    tenth, most = np.quantile(values, [0.1, 0.9])
    if low > 0 and most > LOG_FROM * tenth:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    elif 1 < len(values) <= MAX_TICKS and np.diff(values).min() > (high - low) / (2 * MAX_TICKS):
        ax.set_xticks(values, [setting(value) for value in values])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))


def _label(quality: Axis, nrows: int) -> str:
    """The axis's label, short where several rows share the height."""
    return quality.label.replace(" over ", "\nover ") if nrows == 1 else f"{quality.name} (valid)"

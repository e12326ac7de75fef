"""Compared systems' metrics: curves over missing rates, or bars over missing patterns, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from imer_ray.analysis.figures.canvas import PAGE, figure, house_style
from imer_ray.analysis.style import LIGHT, system_looks
from imer_ray.results.schema import SUMMARIES

LABELS = {"Non0_acc_2": "ACC2 (%)", "Non0_F1_score": "F1 (%)", "Mult_acc_7": "ACC7 (%)", "MAE": "MAE"}
BAR_METRICS = ("Non0_acc_2", "Non0_F1_score")
OPTIMUM, MEAN = "bayes", "mean"
CHANCE = 50.0  # percent; bars of a choice between two classes rise from it
PUBLISHED_LINES = ((0, (4, 2)), (0, (1, 1.2)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
PUBLISHED_MARKS = ("D", "p", "h", "*", "d", "8")


@house_style
def scores(frame: pd.DataFrame) -> Figure | None:
    """Figure of the table that `evaluate` wrote: its settings are missing rates or patterns."""
    settings = [str(s) for s in dict.fromkeys(frame["Setting"]) if s not in (MEAN, *SUMMARIES)]
    if not settings:
        return None
    return rates(frame, settings) if settings[0][0].isdigit() else patterns(frame, settings)


@house_style
def rates(frame: pd.DataFrame, settings: Sequence[str]) -> Figure:
    """One panel per metric, one line per system with its 95 % interval; what was published is thin and grey."""
    metrics = [metric for metric in LABELS if f"{metric}_low" in frame]
    ncols = min(2, len(metrics))
    nrows = -(-len(metrics) // ncols)
    fig, panels = figure(PAGE, 0.5 + 2.2 * nrows, ncols=ncols, nrows=nrows)
    x = np.array([float(setting) for setting in settings])
    own, published = _own(frame), _published(frame)
    looks = system_looks(own)
    for ax, metric in zip(np.ravel(panels), metrics, strict=False):
        for i, system in enumerate(published):
            look: dict[str, Any] = {"color": LIGHT["muted"], "linewidth": 0.8, "markersize": 3.5, "zorder": 2}
            y = _column(frame, system, metric, settings)
            line, mark = PUBLISHED_LINES[i % len(PUBLISHED_LINES)], PUBLISHED_MARKS[i % len(PUBLISHED_MARKS)]
            ax.plot(x, y, linestyle=line, marker=mark, markerfacecolor="white", **look)
        if OPTIMUM in set(frame["Model"]):
            y = _column(frame, OPTIMUM, metric, settings)
            ax.plot(x, y, color=LIGHT["ink"], linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=3)
        for system, look in looks.items():
            low, high = (_column(frame, system, f"{metric}_{end}", settings) for end in ("low", "high"))
            ax.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0, zorder=3)
            ax.plot(x, _column(frame, system, metric, settings), **look, zorder=4)
        ax.set_ylabel(LABELS[metric])
        ax.set_xticks(x, [f"{rate:g}" for rate in x])
        if metric == "MAE":
            ax.annotate("lower is better", (0.98, 0.04), xycoords="axes fraction", ha="right", color=LIGHT["muted"])
    for ax in np.ravel(panels)[len(metrics) :]:
        ax.set_axis_off()
    for ax in np.ravel(panels)[max(0, len(metrics) - ncols) : len(metrics)]:
        ax.set_xlabel("missing rate")
    handles: list[Any] = [Line2D([], [], label=system, **look) for system, look in looks.items()]
    _legend(fig, handles, frame, published, lines=True)
    return fig


@house_style
def patterns(frame: pd.DataFrame, settings: Sequence[str]) -> Figure:
    """Two panels, ACC2 and F1: grouped bars with 95 % intervals; the optimum is a line across its group."""
    metrics = [metric for metric in BAR_METRICS if f"{metric}_low" in frame]
    settings = [*settings, MEAN] if MEAN in set(frame["Setting"]) else list(settings)
    fig, panels = figure(PAGE, 0.6 + 2.1 * len(metrics), nrows=len(metrics))
    own, published = _own(frame), _published(frame)
    looks = system_looks(own)
    width = 0.82 / max(1, len(own))
    x = np.arange(len(settings)) + (np.array(settings) == MEAN) * 0.3  # the mean stands a little apart
    for ax, metric in zip(np.atleast_1d(panels), metrics, strict=True):
        for i, (system, look) in enumerate(looks.items()):
            at = x + (i - (len(own) - 1) / 2) * width
            y, low, high = (_column(frame, system, metric + end, settings) for end in ("", "_low", "_high"))
            ax.bar(at, y - CHANCE, 0.9 * width, bottom=CHANCE, color=look["color"], zorder=2)
            known = ~np.isnan(low)
            spread = np.stack([y - low, high - y])[:, known]
            ax.errorbar(at[known], y[known], spread, fmt="none", ecolor=LIGHT["ink"], elinewidth=0.8, zorder=3)
        if OPTIMUM in set(frame["Model"]):
            y = _column(frame, OPTIMUM, metric, settings)
            ax.hlines(y, x - 0.44, x + 0.44, color=LIGHT["ink"], linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=4)
        for i, system in enumerate(published):
            y, mark = _column(frame, system, metric, settings), PUBLISHED_MARKS[i % len(PUBLISHED_MARKS)]
            look = {"markersize": 4, "markerfacecolor": "white", "color": LIGHT["ink"], "markeredgewidth": 0.7}
            ax.plot(x, y, mark, zorder=5, **look)
        ax.axhline(CHANCE, color=LIGHT["muted"], linewidth=0.8, zorder=4)
        _bar_axes(ax, x, settings, LABELS[metric])
    np.atleast_1d(panels)[-1].set_xlabel("available modalities (l language, a acoustic, v visual); bars rise from 50 %")
    handles: list[Any] = [Patch(color=look["color"], label=system) for system, look in looks.items()]
    _legend(fig, handles, frame, published, lines=False)
    return fig


def _bar_axes(ax: Axes, x: np.ndarray, settings: Sequence[str], label: str) -> None:
    ax.set_ylabel(label)
    ax.set_xticks(x, list(settings))
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)
    ax.margins(x=0.01)


def _legend(fig: Figure, handles: list[Any], frame: pd.DataFrame, published: Sequence[str], lines: bool) -> None:
    if OPTIMUM in set(frame["Model"]):
        dotted: dict[str, Any] = {"color": LIGHT["ink"], "linewidth": 1.0, "linestyle": (0, (1, 1.5))}
        handles.append(Line2D([], [], label="Bayes optimum", **dotted))
    for i, system in enumerate(published):
        line = PUBLISHED_LINES[i % len(PUBLISHED_LINES)] if lines else ""
        look: dict[str, Any] = {"color": LIGHT["muted" if lines else "ink"], "linewidth": 0.8, "linestyle": line}
        look |= {"marker": PUBLISHED_MARKS[i % len(PUBLISHED_MARKS)], "markersize": 4, "markerfacecolor": "white"}
        handles.append(Line2D([], [], label=f"{system} published", **look))
    fig.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)), columnspacing=1.4)


def _own(frame: pd.DataFrame) -> list[str]:
    measured = frame[frame["Seeds"].notna() & (frame["Model"] != OPTIMUM)]
    return list(dict.fromkeys(measured["Model"]))


def _published(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame[frame["Seeds"].isna()]["Model"]))


def _column(frame: pd.DataFrame, system: str, column: str, settings: Sequence[str]) -> np.ndarray:
    """A system's values at the settings, NaN where it has none."""
    rows = frame[frame["Model"] == system].set_index("Setting")
    return rows[column].reindex(list(settings)).to_numpy(dtype=float)

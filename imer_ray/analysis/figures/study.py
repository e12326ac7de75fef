"""Publication figures by Matplotlib: one column (3.5 in) or two (7.2 in) wide, vector text, readable without colour.

Each function returns a Figure, or None where the studies hold nothing to draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from imer_ray.analysis import parallel as coordinates
from imer_ray.analysis import progress
from imer_ray.analysis.figures.canvas import COLUMN, PAGE, SIDES, dot, figure, house_style, name_places, speed_scale
from imer_ray.analysis.labels import number, short
from imer_ray.analysis.spread import draw_error_bars
from imer_ray.analysis.style import (
    FURTHER_PICK,
    LIGHT,
    MARKS,
    PICK_SERIES,
    STATUS_SERIES,
    Groups,
    looks,
    series,
)
from imer_ray.results.axes import Axis
from imer_ray.results.study import Study

SHADES = colormaps["viridis_r"]  # darker is better, also in grey print


@house_style
def pareto(studies: Sequence[Study]) -> Figure | None:
    """Quality against speed; up and right is better. Colour and mark are those of `looks`, or the study's."""
    studies = [study for study in studies if len(study.points)]
    if not studies:
        return None
    quality, speed = studies[0].quality, studies[0].speed
    fig, ax = figure(COLUMN, 3.3)
    several = len(studies) > 1
    colours, marks = looks(studies)
    for i, study in enumerate(studies):
        for (colour, mark, on_front), some in _grouped(study, colours, marks):
            ax.scatter(
                some[speed.column],
                some[quality.column],
                marker=MARKS[mark % len(MARKS)][0],
                s=sizes(study, some, 13.0, (14.0, 90.0) if study.also else (30.0, 30.0)),
                color=LIGHT[series(i if several else colour)],
                edgecolors=LIGHT["ink"] if on_front else "none",
                linewidths=0.7,
                alpha=1.0 if on_front else 0.4,
                zorder=4 if on_front else 2,
            )
        aside = {"marker": "x", "s": 12, "linewidths": 0.7, "color": LIGHT["muted"], "zorder": 2}
        ax.scatter(study.infeasible[speed.column], study.infeasible[quality.column], **aside)
        draw_error_bars(ax, study)
        front = study.stairs
        line = {"color": LIGHT[series(i)] if several else LIGHT["ink"], "linewidth": 1.0, "zorder": 3}
        ax.plot(front[speed.column], front[quality.column], drawstyle="steps-pre", **line)
    baselines = baseline_places(studies)
    for at in baselines.values():
        ax.plot(*at, "D", markersize=5, markerfacecolor="white", markeredgecolor=LIGHT["ink"], zorder=4)
    if speed.unit == "×":
        ax.axvline(1.0, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.text(1.06, 0.02, "IMDer, 100 steps", transform=ax.get_xaxis_transform(), fontsize=6.5, color=LIGHT["muted"])
    ax.margins(0.1)
    speed_scale(ax, speed)
    ax.set_ylabel(quality.label)
    if not quality.higher_is_better:
        ax.invert_yaxis()
    handles = [dot(study.name, LIGHT[series(i)], "o") for i, study in enumerate(studies)] if several else []
    handles += [] if several else [dot(name, LIGHT[series(i)], "o") for i, name in enumerate(colours.names)]
    handles += [dot(name, LIGHT["muted"], MARKS[i % len(MARKS)][0]) for i, name in enumerate(marks.names)]
    handles += [dot("breaks a constraint", LIGHT["muted"], "x")] if any(len(s.infeasible) for s in studies) else []
    also = studies[0].also[:1]
    label = f"front of quality and speed; larger marks: more {also[0].name}" if also else "Pareto front"
    handles.append(Line2D([], [], color=LIGHT["ink"], linewidth=1.0, label=label))
    fig.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.2, handletextpad=0.4)
    picks = {} if several else studies[0].picks
    rows = {name: studies[0].points.loc[index] for name, index in picks.items()}
    names = [(name, (row[speed.column], row[quality.column]), "bold") for name, row in rows.items()]
    name_places(ax, names + [(name, at, "normal") for name, at in baselines.items()])
    return fig


@house_style
def hypervolume(studies: Sequence[Study]) -> Figure | None:
    """Hypervolume up to the fixed reference point over the minutes in which trials ran."""
    studies = [study for study in studies if len(study.points)]
    if not studies:
        return None
    reference = progress.common_reference(studies)
    fig, ax = figure(COLUMN, 2.4)
    ends, lowest, highest = [], np.inf, 0.0
    for i, study in enumerate(studies):
        minutes, values = progress.hypervolume_over_time(study, reference)
        colour = LIGHT[series(i)]
        ax.step(minutes, values, where="post", color=colour, linewidth=1.3, label=study.name)
        ax.plot(minutes[-1], values[-1], "o", markersize=3.5, color=colour)
        ends.append((minutes[-1], values[-1]))
        lowest, highest = min(lowest, values[1]), max(highest, values[-1])
    ax.set_xlabel("search time (min)")
    ax.set_ylabel("hypervolume")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=max(0.0, lowest - 0.5 * (highest - lowest)))
    if len(studies) > 1:
        ax.legend(loc="lower right")
    name_places(ax, [(number(value), (minute, value), "normal") for minute, value in ends], SIDES[2:])
    return fig


@house_style
def parallel(study: Study, settings: list[str]) -> Figure | None:
    """One line per point across its settings, quality and speed; the front stands out, coloured by quality."""
    if study.points.empty or not settings:
        return None
    axes = coordinates.axes(study, settings)
    fig, ax = figure(PAGE, 2.9)
    ax.set_axis_off()
    x = np.arange(len(axes))
    heights = np.column_stack([axis.heights for axis in axes])
    shades = heights[:, len(settings)]
    on_front = (study.points["rank"] == 0).to_numpy()
    lines = np.stack([np.broadcast_to(x, heights.shape), heights], axis=-1)
    ax.add_collection(LineCollection(lines[~on_front], colors=LIGHT["faint"], linewidths=0.5, alpha=0.7, zorder=2))
    colours = SHADES(0.15 + 0.8 * shades[on_front])
    ax.add_collection(LineCollection(lines[on_front], colors=colours, linewidths=1.4, zorder=3))
    for place, axis in zip(x, axes, strict=True):
        ax.plot([place, place], [0, 1], color=LIGHT["ink"], linewidth=0.8, zorder=4)
        ax.text(place, 1.06 + 0.09 * (place % 2), axis.label, ha="center", va="bottom", fontsize=7, fontweight="bold")
        for height, text in axis.ticks.items():
            box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6}
            ax.text(place + 0.035, height, text, ha="left", va="center", fontsize=6.5, bbox=box, zorder=5)
    ax.set_xlim(-0.25, len(axes) - 0.5)
    return fig


@house_style
def importance(found: Mapping[str, pd.DataFrame]) -> Figure | None:
    """One panel per objective (label -> what `imer_ray.analysis.importance` found), settings in the same order.

    Hollow bars are not told from chance.
    """
    if not found or any(one.empty for one in found.values()):
        return None
    table = pd.DataFrame({label: one["share"] for label, one in found.items()}).fillna(0.0)
    table = table.loc[table.sum(axis=1).sort_values().index]
    told = pd.DataFrame({label: one["told"] for label, one in found.items()}).reindex(table.index)
    fig, panels = figure(COLUMN, 0.75 + 0.17 * len(table), ncols=len(found), sharey=True)
    for i, (ax, (label, share)) in enumerate(zip(np.atleast_1d(panels), table.items(), strict=True)):
        colours = [LIGHT[series(i)] if known else "none" for known in told[label].eq(True)]
        look: Any = {"color": colours, "edgecolor": LIGHT[series(i)], "linewidth": 0.7, "height": 0.68}
        ax.barh([short(path) for path in table.index], 100 * share, **look)
        ax.set_title(str(label), loc="left")
        ax.set_xlabel("variance explained (%)")
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if not told.eq(True).all(axis=None):
        hollow = Patch(facecolor="none", edgecolor=LIGHT["ink"], linewidth=0.7, label="not told from chance")
        fig.legend(handles=[hollow], loc="outside lower center")
    return fig


@house_style
def patterns(study: Study) -> Figure | None:
    """Quality for each setting of the protocol: the picked points of the front as bars, baselines as marks."""
    if not study.patterns or not study.picks:
        return None
    fig, ax = figure(PAGE, 2.4)
    places = np.arange(len(study.patterns))
    width = 0.8 / len(study.picks)
    for i, (name, index) in enumerate(study.picks.items()):
        values = study.points.loc[index, list(study.patterns.values())].astype(float)
        at = places + (i - (len(study.picks) - 1) / 2) * width
        ax.bar(at, values, 0.92 * width, color=LIGHT[PICK_SERIES.get(name, FURTHER_PICK)], label=name)
        for x, value in zip(at, values, strict=True):
            ax.text(x, 0.02 * ax.get_ylim()[1], number(value, 2), ha="center", va="bottom", fontsize=6, color="white")
    for i, (name, measured) in enumerate(study.baselines.items()):
        values = [measured.get(column, np.nan) for column in study.patterns.values()]
        if not np.isnan(values).all():
            mark = MARKS[(i + 3) % len(MARKS)][0]
            ax.plot(places, values, mark, markersize=4, markerfacecolor="white", color=LIGHT["ink"], label=name)
    ax.set_xticks(places, list(study.patterns))
    ax.set_xlabel("missing rate" if study.at_rates else "available modalities (l language, a acoustic, v visual)")
    ax.set_ylabel(f"{study.quality.name} (valid)")
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)
    fig.legend(loc="outside upper center", ncols=6)
    return fig


@house_style
def timeline(study: Study) -> Figure | None:
    """Each trial from start to end, in minutes in which trials ran; dots where its points were scored."""
    trials = progress.trials(study)
    if trials["started"].isna().all():
        return None
    fig, ax = figure(COLUMN, min(6.0, 1.0 + 0.075 * len(trials)))
    for status, name in STATUS_SERIES.items():
        some = trials[trials["status"] == status]
        if len(some):
            spans = some["finished"] - some["started"]
            label = f"{status} ({len(some)})"
            ax.barh(some.index, spans, left=some["started"], height=0.72, color=LIGHT[name], label=label)
    done = progress.search_seconds(study.frame, study.points["finished"]) / 60
    ax.plot(done, study.points["trial"], "|", color=LIGHT["ink"], markersize=3.5, markeredgewidth=0.8, label="point")
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.set_xlabel("search time (min)")
    ax.set_ylabel("trial")
    ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.grid(axis="y", visible=False)
    fig.legend(loc="outside upper center", ncols=4, columnspacing=1.2, handletextpad=0.4)
    return fig


def sizes(study: Study, some: pd.DataFrame, behind: float, on_front: tuple[float, float]) -> list[float]:
    """Of the marks of some of a study's points: of those on the front by their first further objective, from the least
    of the front to the most as its axis is drawn; without one all the same."""
    (low, high), best = on_front, some["rank"] == 0
    shares = np.zeros(len(some))
    if study.also:
        axis = study.also[0]
        values, ends = (np.log(at) if axis.log else at for at in (_of(axis, some), _of(axis, study.front)))
        shares = (values - ends.min()) / (float(np.ptp(ends)) or 1.0)
    return np.where(best, low + (high - low) * shares, behind).tolist()


def _of(axis: Axis, points: pd.DataFrame) -> NDArray[np.float64]:
    return points[axis.column].to_numpy(float)


def baseline_places(studies: Sequence[Study]) -> dict[str, tuple[float, float]]:
    """name -> (speed, quality) of the systems measured beside the search, as far as both were."""
    return {name: at for study in studies for name, at in study.rivals.items()}


def _grouped(study: Study, colours: Groups, marks: Groups) -> Iterator[tuple[tuple[int, int, bool], Any]]:
    """The points by (colour, mark, whether on the front)."""
    points = study.points
    keys = [(colours(row), marks(row), row["rank"] == 0) for row in points.to_dict("records")]
    for key in sorted(set(keys)):
        yield key, points[[k == key for k in keys]]

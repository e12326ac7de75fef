"""Matplotlib without its global state: a figure of given size in the house style, and how it is saved."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from imer_ray.analysis.labels import number
from imer_ray.analysis.style import LIGHT
from imer_ray.results.axes import Axis

COLUMN, PAGE = 3.5, 7.2  # inches: one column of a paper, and both
DPI = 300
RC: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LIGHT["muted"],
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # in names that others chose, a dollar is a dollar
    "svg.hashsalt": "imer_ray",  # the same results give the same file
}
house_style = rc_context(RC)
# Where a name may stand beside its place: offset in points, alignment; the first that is free is taken.
SIDES = ((5, 4, "left"), (5, -9, "left"), (-5, 4, "right"), (-5, -9, "right"), (5, 13, "left"), (-5, -18, "right"))


class ShownFigure(Figure):
    """A figure that a notebook shows, with or without a backend of Matplotlib's."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI // 2)
        return buffer.getvalue()


def figure(width: float, height: float, ncols: int = 1, sharey: bool = False, nrows: int = 1) -> tuple[Figure, Any]:
    """A figure (inches) whose axes make room for legends placed outside of them."""
    fig = ShownFigure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots(nrows, ncols, sharey=sharey)


@house_style
def render(fig: Figure) -> dict[str, bytes]:
    """The figure as the content of a PNG and of an SVG file."""
    fig.draw_without_rendering()  # finds the layout, once for both
    fig.set_layout_engine(None)  # "none" is a placeholder, for which each format would be laid out again
    rendered = {}
    for suffix, metadata in (("png", None), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        fig.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
        rendered[suffix] = buffer.getvalue()
    return rendered


def name_places(
    ax: Axes, places: Sequence[tuple[str, tuple[float, float], str]], sides: Sequence[tuple[int, int, str]] = SIDES
) -> None:
    """Write each name (text, (x, y), weight) beside its place, on the first side where it hides no other name.

    Call it when all else is drawn: the layout is worked out here.
    """
    fig = ax.get_figure(root=True)
    assert isinstance(fig, Figure)
    fig.draw_without_rendering()
    taken = [Bbox([ax.transData.transform(at) - 4, ax.transData.transform(at) + 4]) for _, at, _ in places]  # pixels
    for text, at, weight in places:
        for x, y, align in sides:
            label = ax.annotate(
                text, at, (x, y), textcoords="offset points", ha=align, fontsize=6.5, fontweight=weight, zorder=6
            )
            extent = label.get_window_extent()
            if (x, y, align) == sides[-1] or not any(extent.overlaps(other) for other in taken):
                taken.append(extent)
                break
            label.remove()


def dot(label: str, colour: str, mark: str) -> Line2D:
    """A legend entry of one mark."""
    return Line2D([], [], linestyle="", marker=mark, color=colour, markersize=4.5, label=label)


class RoomyLogLocator(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, or at 1 and 3 where the labels of more than three decades would touch."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        self.set_params(subs=(1.0, 2.0, 5.0) if vmax < 1000 * vmin else (1.0, 3.0))
        return super().tick_values(vmin, vmax)


def speed_scale(ax: Axes, axis: Axis) -> None:
    """Speed along x, faster to the right, in plain numbers (2, 20, 200; not powers)."""
    ax.set_xlabel(axis.label)
    if axis.log:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(RoomyLogLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1e6 else number(value)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if not axis.higher_is_better:
        ax.invert_xaxis()

"""What a trained model answers about clips, and how sure it is, as modalities come and go."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from imer_ray.analysis.figures.canvas import PAGE, figure, house_style
from imer_ray.analysis.style import LIGHT

NAMES = {"l": "language", "a": "acoustic", "v": "visual"}
OWN, LABEL = LIGHT["series0"], LIGHT["series1"]


@house_style
def answers(frame: pd.DataFrame) -> Figure:
    """One panel a clip, one line a pattern: the value with its 90 % interval, beside the clip's label.

    Args:
        frame: a row per clip and pattern: ``clip``, ``label``, ``available``, ``value``, ``low`` and ``high``.
    """
    clips = list(dict.fromkeys(frame["clip"]))
    patterns = list(dict.fromkeys(frame["available"]))[::-1]
    fig, panels = figure(PAGE, 1.1 + 0.24 * len(patterns), ncols=len(clips), sharey=True)
    for ax, clip in zip(np.atleast_1d(panels), clips, strict=True):
        own = frame[frame["clip"] == clip].set_index("available").loc[patterns]
        places = np.arange(len(patterns))
        ax.axvline(0, color=LIGHT["faint"], linewidth=0.8)
        ax.axvline(own["label"].iloc[0], color=LABEL, linewidth=1.2)
        ax.hlines(places, own["low"], own["high"], color=OWN, alpha=0.35, linewidth=5)
        ax.plot(own["value"], places, "o", color=OWN, markersize=3.5)
        ax.set(yticks=places, yticklabels=patterns, title=f"clip {clip}")
        ax.grid(axis="y", visible=False)
    _limits(np.atleast_1d(panels), frame)
    np.atleast_1d(panels)[len(clips) // 2].set_xlabel("sentiment")
    np.atleast_1d(panels)[0].set_ylabel("available")
    fig.legend(handles=_legend(), loc="outside upper center", ncols=3)
    return fig


@house_style
def stream(frame: pd.DataFrame, label: float) -> Figure:
    """The answer as frames arrive, above the times at which each modality did.

    Args:
        frame: a row per tick: ``value``, ``low``, ``high``, and ``l``, ``a`` and ``v``, whether a frame came.
        label: of the clip.
    """
    fig, (above, below) = figure(PAGE, 3.0, nrows=2)
    above.get_gridspec().set_height_ratios([3, 1])
    ticks = np.arange(len(frame))
    above.fill_between(ticks, frame["low"], frame["high"], step="mid", color=OWN, alpha=0.2, linewidth=0)
    above.step(ticks, frame["value"], where="mid", color=OWN, linewidth=1.3)
    above.axhline(label, color=LABEL, linewidth=1.2)
    above.axhline(0, color=LIGHT["faint"], linewidth=0.8)
    above.set_ylabel("sentiment")
    for place, m in enumerate(NAMES):
        there = np.flatnonzero(frame[m])
        below.broken_barh([(tick - 0.5, 1) for tick in there], (place - 0.35, 0.7), color=OWN, linewidth=0)
    below.set(yticks=range(3), yticklabels=list(NAMES.values()), xlabel="frame", ylim=(2.6, -0.6))
    below.grid(axis="y", visible=False)
    for ax in (above, below):
        ax.set_xlim(-0.5, len(frame) - 0.5)
    fig.legend(handles=_legend(), ncols=3, loc="outside upper center")
    return fig


def _legend() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=OWN, marker="o", markersize=3.5, linewidth=1.3, label="answer"),
        Patch(color=OWN, alpha=0.3, linewidth=0, label="90 % interval"),
        Line2D([], [], color=LABEL, linewidth=1.2, label="label"),
    ]


def _limits(panels: Iterable[Axes], frame: pd.DataFrame) -> None:
    """The same for all panels, with a margin."""
    found = frame[["label", "value", "low", "high"]].to_numpy(float)
    low, high = np.nanmin(found), np.nanmax(found)
    for ax in panels:
        ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))

"""How steadily systems train: losses per epoch and stage, with their spread over seeds (after RoHyDR, Fig. 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from imer_ray.analysis.figures.canvas import PAGE, figure, house_style
from imer_ray.analysis.style import LIGHT, system_looks

History = Mapping[str, Sequence[Mapping[str, float]]]
"""Stage -> one entry of losses per epoch, ``loss`` (training) and, where it was measured, ``valid_loss``."""

MAX_COLUMNS = 4
LOG_FROM = 20.0  # ratio of the largest to the smallest loss from which an axis is logarithmic
TRAIN, VALID = "loss", "valid_loss"


@house_style
def training(histories: Mapping[str, Sequence[History]]) -> Figure | None:
    """One panel per stage: mean over seeds, band from the lowest to the highest; solid training, dashed validation.

    Args:
        histories: system -> one history per seed. A stage that several systems share is drawn once.
    """
    looks = system_looks(list(histories))
    stages = list(dict.fromkeys(stage for seeds in histories.values() for history in seeds for stage in history))
    if not stages:
        return None
    ncols = min(MAX_COLUMNS, len(stages))
    nrows = -(-len(stages) // ncols)
    fig, panels = figure(PAGE, 0.55 + 1.75 * nrows, ncols=ncols, nrows=nrows)
    flat = list(np.ravel(panels))
    shown: dict[str, str] = {}
    for ax, stage in zip(flat, stages, strict=False):
        groups = _shared(histories, stage)
        for system in groups:
            _curves(ax, [h[stage] for h in histories[system] if stage in h], str(looks[system]["color"]))
            shown[system] = str(looks[system]["color"])
        title = f"{stage} (shared)" if len(groups) == 1 and len(next(iter(groups.values()))) > 1 else stage
        ax.set_title(title, loc="left")
        _axes(ax)
    for ax in flat[len(stages) :]:
        ax.set_axis_off()
    for ax in flat[max(0, len(stages) - ncols) : len(stages)]:
        ax.set_xlabel("epoch")
    for ax in flat[::ncols]:
        ax.set_ylabel("loss")
    handles = [Line2D([], [], color=colour, linewidth=1.3, label=system) for system, colour in shown.items()]
    handles.append(Line2D([], [], color=LIGHT["muted"], linewidth=1.3, label="training"))
    handles.append(
        Line2D(
            [], [], color=LIGHT["muted"], linewidth=1.0, linestyle="--", marker="o", markersize=3, label="validation"
        )
    )
    fig.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), columnspacing=1.4)
    return fig


def _shared(histories: Mapping[str, Sequence[History]], stage: str) -> dict[str, list[str]]:
    """First system of each group that trained this stage alike -> all of its group."""
    groups: dict[str, list[str]] = {}
    for system, seeds in histories.items():
        found = [history[stage] for history in seeds if stage in history]
        if found:
            groups.setdefault(json.dumps(found, sort_keys=True), []).append(system)
    return {systems[0]: systems for systems in groups.values()}


def _curves(ax: Axes, seeds: Sequence[Sequence[Mapping[str, float]]], colour: str) -> None:
    """Training and validation loss of one system's stage; a loss of a single epoch is a mark."""
    for name, line, width in ((TRAIN, "-", 1.3), (VALID, "--", 1.0)):
        epochs, values = spread(seeds, name)
        if not len(epochs):
            continue
        mean, low, high = values.mean(0), values.min(0), values.max(0)
        if len(epochs) == 1:
            gaps = np.array([mean - low, high - mean])
            ax.errorbar(epochs, mean, gaps, fmt="o", color=colour, markersize=3, elinewidth=0.8, zorder=4)
        else:
            ax.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
            ax.plot(epochs, mean, linestyle=line, color=colour, linewidth=width, zorder=3)


def spread(seeds: Sequence[Sequence[Mapping[str, float]]], name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Epochs [E] (from 1) in which every seed has the loss, and its values [S, E]."""
    common = set.intersection(*({i for i, entry in enumerate(seed) if name in entry} for seed in seeds))
    epochs = np.array(sorted(common), dtype=np.int64)
    values = np.array([[seed[i][name] for i in epochs] for seed in seeds], dtype=float).reshape(len(seeds), len(epochs))
    return epochs + 1, values


def _axes(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    low, high = ax.dataLim.y0, ax.dataLim.y1
    if low > 0 and high > LOG_FROM * low:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))

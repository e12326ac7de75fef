"""The picture of `benchmarks/systems.py`: a panel for each world, a row for each system."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from imer_ray.analysis.figures.canvas import PAGE, dot, figure, house_style, render
from imer_ray.analysis.style import LIGHT, series

TITLES = {
    "plain": "synthetic",
    "warped": "synthetic, warped",
    "speaker": "CMU-MOSI, by speakers",
    "official": "CMU-MOSI, official",
}
OPTIMUM_LINE: Any = {"color": LIGHT["ink"], "linewidth": 1.0, "linestyle": (0, (1, 1.5))}
RIVAL_LINE: Any = {"color": LIGHT["muted"], "linewidth": 0.8}


@house_style
def draw(
    table: Mapping[str, Mapping[str, Any]],
    optima: Mapping[str, float],
    families: Mapping[str, Sequence[str]],
    rival: str,
) -> bytes:
    """A PNG: in each world the systems' accuracies with their 95 % intervals over seeds, coloured by family, beside the
    Bayes optimum and the rival.

    A hollow mark has fewer seeds than others; one without an interval has a single seed.
    """
    systems = [system for family in families.values() for system in family if system in table]
    systems += [system for system in table if system not in systems]
    colours = {
        system: LIGHT[series(i)] for i, family in enumerate(families.values()) for system in family if system in table
    }
    worlds = list(dict.fromkeys(world for row in table.values() for world in row))
    most = max(cell.seeds for row in table.values() for cell in row.values())
    fig, panels = figure(PAGE, 0.9 + 0.2 * len(systems), ncols=len(worlds), sharey=True)
    panels = [panels] if len(worlds) == 1 else list(panels)
    for ax, world in zip(panels, worlds, strict=True):
        for y, system in enumerate(systems):
            cell = table[system].get(world)
            if cell is None:
                continue
            colour = colours.get(system, LIGHT["ink"])
            if not math.isnan(cell.half_width):
                ax.errorbar(cell.accuracy, y, xerr=cell.half_width, fmt="none", ecolor=colour, elinewidth=1.0, zorder=3)
            face = colour if cell.seeds == most else LIGHT["paper"]
            ax.plot(cell.accuracy, y, "o", color=colour, markerfacecolor=face, markersize=4.5, zorder=4)
        if world in table.get(rival, {}):
            ax.axvline(table[rival][world].accuracy, **RIVAL_LINE, zorder=2)
        if world in optima:
            ax.axvline(optima[world], **OPTIMUM_LINE, zorder=2)
        ax.set_xlim(*_limits([row[world] for row in table.values() if world in row], most, optima.get(world)))
        ax.set_title(TITLES.get(world, world))
        ax.set_xlabel("ACC2 (%)")
    panels[0].set_yticks(range(len(systems)), systems)
    panels[0].set_ylim(len(systems) - 0.5, -0.5)
    handles = [dot(name, LIGHT[series(i)], "o") for i, name in enumerate(families)]
    handles += [Line2D([], [], label="Bayes optimum", **OPTIMUM_LINE), Line2D([], [], label=rival, **RIVAL_LINE)]
    hollow = dot("fewer seeds", LIGHT["muted"], "o")
    hollow.set_markerfacecolor(LIGHT["paper"])
    fig.legend(handles=[*handles, hollow], loc="outside lower center", ncols=4, columnspacing=1.4)
    return render(fig)["png"]


def _limits(cells: Sequence[Any], most: int, optimum: float | None) -> tuple[float, float]:
    """What holds every mark and the intervals of those that have the most seeds: an interval of two is wider than all
    differences."""
    ends = [cell.accuracy for cell in cells] + ([] if optimum is None else [optimum])
    widths = [(c.accuracy, c.half_width) for c in cells if c.seeds == most and not math.isnan(c.half_width)]
    ends += [accuracy + side * width for accuracy, width in widths for side in (-1, 1)]
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    return min(ends) - room, max(ends) + room

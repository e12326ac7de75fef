"""The runs of a study's stages on the machines that they ran on, as a figure."""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from imer_ray.analysis.figures.canvas import PAGE, dot, figure, house_style
from imer_ray.analysis.lanes import CUT_SHORT, STORE, Lanes
from imer_ray.analysis.style import LIGHT, NUM_SERIES, series

LEGIBLE = 0.02  # of the width: a bar that a number fits into


@house_style
def lanes(made: Lanes | None) -> Figure | None:
    """A bar per run, coloured by the kind of stage and hatched if it was cut short; inside, how often it was reused."""
    if made is None:
        return None
    fig, ax = figure(PAGE, min(6.0, 1.5 + 0.22 * made.num_places))
    least = LEGIBLE * made.runs["end"].max()
    shades = {kind: LIGHT[series(i)] if i < NUM_SERIES else LIGHT["muted"] for i, kind in enumerate(made.kinds)}
    for kind, shade in shades.items():
        for run in made.of(kind).itertuples():
            hatch = "////" if run.status in CUT_SHORT else None
            width = run.end - run.start
            ax.barh(run.place, width, left=run.start, height=0.8, color=shade, hatch=hatch, edgecolor="white", lw=0.3)
            if run.reused and width > least:
                at = ((run.start + run.end) / 2, run.place)
                ax.annotate(f"{run.reused}×", at, ha="center", va="center", fontsize=5.5, color="white")
    found = made.found
    ax.plot(found["start"], found["place"], "D", markersize=3, markerfacecolor="white", markeredgecolor=LIGHT["ink"])
    ax.set_yticks(list(made.names.values()), list(made.names))
    ax.set_ylim(made.num_places - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.set_xlabel("search time (min)")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    handles: list[Artist] = [Patch(color=shade, label=kind) for kind, shade in shades.items()]
    if made.runs["status"].isin(CUT_SHORT).any():
        handles.append(Patch(facecolor=LIGHT["faint"], edgecolor="white", hatch="////", label="cut short"))
    if len(found):
        mark = dot(STORE, LIGHT["ink"], "D")
        mark.set_markerfacecolor("white")
        handles.append(mark)
    fig.legend(handles=handles, loc="outside upper center", ncols=7, columnspacing=1.2, handletextpad=0.4)
    return fig

"""Several studies side by side: their fronts and hypervolumes in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from imer_ray.analysis import progress
from imer_ray.analysis.charts import front as charts
from imer_ray.analysis.figures import study as figures
from imer_ray.analysis.figures.canvas import render
from imer_ray.analysis.labels import duration, measured, number
from imer_ray.analysis.page.front import front
from imer_ray.analysis.page.header import origin
from imer_ray.analysis.page.page import Cell, Page, section, table
from imer_ray.results.schema import DataInfo, UserError
from imer_ray.results.study import Study


def check_comparable(studies: Sequence[Study]) -> None:
    """Raises UserError unless all studies minimise the same and have names of their own."""
    first = studies[0]
    for study in studies[1:]:
        if study.minimised != first.minimised:
            this, that = (" and ".join(each.minimised) for each in (study, first))
            raise UserError(f"{study.folder} minimises {this}, {first.folder} {that}: report them one by one")
    names = [study.name for study in studies]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"two of the runs are both named {min(repeated)}; give each run once")


def cautions(studies: Sequence[Study]) -> list[str]:
    """What keeps the studies' qualities from being compared: other clips or another missing protocol than the first's,
    as far as that is known."""
    first, said = studies[0], []
    for study in studies[1:]:
        ours, theirs = first.data, study.data
        if ours is not None and theirs is not None and ours.fingerprint != theirs.fingerprint:
            both = f"{study.name} searched {_clips(theirs)}, {first.name} {_clips(ours)}"
            said.append(f"{both}: qualities on different clips say nothing of each other")
        if study.protocol and first.protocol and study.protocol != first.protocol:
            both = f"{study.name} has the {study.protocol} missing protocol, {first.name} the {first.protocol} one"
            said.append(f"{both}: their qualities are of different gaps")
    return said


def _clips(data: DataInfo) -> str:
    return f"{data.name} ({data.fingerprint[:8]})"


def comparison(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of the page and the figures."""
    yield "compare.html", page(studies).encode(errors="replace")
    for name, figure in (("pareto", figures.pareto(studies)), ("hypervolume", figures.hypervolume(studies))):
        if figure is not None:
            for suffix, content in render(figure).items():
                yield f"compare_{name}.{suffix}", content


def page(studies: Sequence[Study]) -> str:
    names = ", ".join(study.name for study in studies)
    made = Page(f"{names}: quality against speed")
    made.add(f'<header><h1>{escape(names)}</h1><p class="muted">{len(studies)} studies side by side</p>')
    made.add("".join(f'<p class="muted">{escape(" · ".join([s.name, *origin(s)]))}</p>' for s in studies) + "</header>")
    if said := cautions(studies):
        items = "".join(f"<li>{escape(one)}</li>" for one in said)
        made.add(section("Not to be compared", f"<ul>{items}</ul>", kind="warning"))
    made.add(section("Studies", _summary(studies)))
    with_points = [study for study in studies if len(study.points)]
    if with_points:
        made.add(front(made, with_points, "Colour is the study, shape the sampler."))
        chart = made.chart("hypervolume", charts.hypervolume(with_points), height=380, narrow=320)
        corner = " and ".join(f"{value:.3g}" for value in progress.common_reference(with_points))
        note = f"Area that the points dominate, for all studies up to ({corner}). Pauses of a search are left out."
        made.add(section("Hypervolume", chart, note=note))
    return made.render()


def _summary(studies: Sequence[Study]) -> str:
    quality, speed = studies[0].quality, studies[0].speed
    reference = progress.common_reference(studies)
    heads = [("study", ""), ("trials", "number"), ("points", "number"), ("on the front", "number")]
    heads += [(f"best {quality.name}", "number"), (f"best {speed.name}", "number")]
    heads += [("hypervolume", "number"), ("computed", "number"), ("reused", "number")]
    rows = []
    for study in studies:
        saved, front = progress.reuse(study), study.front
        picks = study.every_pick
        best = [
            measured(axis, study.points.loc[picks[pick], axis.column]) if picks else "–"
            for pick, axis in (("quality", quality), ("speed", speed))
        ]
        volume = number(progress.hypervolume_over_time(study, reference)[1][-1], 4)
        counts = [str(study.frame["trial"].nunique()), str(len(study.points)), str(len(front))]
        cells = [*counts, *best, volume, duration(saved.computed_s), f"{100 * saved.share:.0f} %"]
        rows.append([Cell(study.name), *(Cell(text, kind="number") for text in cells)])
    return table(heads, rows)

"""What the page of one study says, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from imer_ray.analysis import lanes as stage_lanes
from imer_ray.analysis import progress, verdicts
from imer_ray.analysis.charts import front as front_charts
from imer_ray.analysis.charts import lanes as lanes_charts
from imer_ray.analysis.charts import seeds as seed_charts
from imer_ray.analysis.charts import study as study_charts
from imer_ray.analysis.labels import (
    attained,
    broken,
    cost,
    has_interval,
    interval,
    measured,
    setting,
    short,
    title,
    with_encoder,
)
from imer_ray.analysis.page.front import front as front_with_points
from imer_ray.analysis.page.page import Cell, Page, section, table
from imer_ray.analysis.page.picking import picker
from imer_ray.analysis.parallel import MAX_LINES
from imer_ray.analysis.style import series
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.study import Study
from imer_ray.results.text_encoder import ENCODER, SHAPES

TABLE_COLUMNS = ("latency_ms_b1", "nfe", "num_parameters")
TABLE_NAMES = ("ms/clip", "NFE", "parameters")


def before_choosing(study: Study) -> str:
    """What the numbers do not show by themselves, and how to go on."""
    items = "".join(f"<li>{escape(said)}</li>" for said in verdicts.lines(study))
    command = f'<code class="command">{escape(verdicts.next_command(study))}</code>'
    go_on = f"<li>Train a pick finally, with several seeds and on the test split: {command}</li>"
    return section("Before you choose", f"<ul>{items}{go_on}</ul>")


def nothing_yet(study: Study) -> str:
    counts = progress.trials(study)["status"].value_counts()
    said = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no trial has ended"
    text = f"No trial has completed yet ({said}), so there is no front to show."
    if len(study.infeasible):
        text = f"There is no point to choose: {broken(study)}."
    return section("No point to show", f"<p>{escape(text)}</p>", kind="warning")


def front(page: Page, study: Study) -> str:
    """The scatter below the picker, beside the panel that shows a point's configuration."""
    note = "Marks with an outline are the Pareto front"
    note += f", the larger the more {study.also[0].name}." if study.also else "."
    note += f" Crosses: {broken(study)}." if len(study.infeasible) else ""
    return front_with_points(page, [study], note, above=picker(page, study))


def front_table(study: Study) -> str:
    picks = {index: name for name, index in study.picks.items()}
    axes = study.axes
    others = [
        (column, name)
        for column, name in zip(TABLE_COLUMNS, TABLE_NAMES, strict=True)
        if column not in {axis.column for axis in axes} and study.front[column].notna().any()
    ]
    shown = study.varying or study.settings
    heads = [("pick", ""), ("trial", "number")]
    spread = {axis: ["95 %"] if has_interval(axis, study.front) else [] for axis in axes}
    heads += [(name, "number") for axis in axes for name in (axis.name, *spread[axis])]
    heads += [(f"with {ENCODER}", "number")] if study.speed.column in SHAPES else []
    heads += [("on front", "number")] if study.repeated else []
    heads += [*((name, "number") for _, name in others), *((short(path), "") for path in shown)]
    rows = []
    for index, row in study.front.iterrows():
        pick = picks.get(index)
        chip = f'<span class="chip {pick}">{pick}</span>' if pick else "&nbsp;"
        numbers = [title(row).removeprefix("trial ")]
        for axis in axes:
            numbers += [measured(axis, row[axis.column]), *(interval(axis, row) for _ in spread[axis])]
        if (column := study.speed.column) in SHAPES:
            numbers.append(with_encoder(study, column, row[column]))
        numbers += [attained(study, index)] if study.repeated else []
        numbers += [cost(column, row[column]) for column, _ in others]
        cells = [Cell(html=chip), *(Cell(text, kind="number") for text in numbers)]
        rows.append(cells + [Cell(setting(row[CONFIG_PREFIX + path]), kind="mono") for path in shown])
    note = (
        "From best quality to best speed. A trial's number after the point counts further evaluations of its networks."
    )
    if study.uncertainty is not None and study.uncertainty.half_widths:
        note += (
            " The 95 % interval of a quality with one seed is over another draw of as many validation clips. All points"
            " share their clips, so that picks whose intervals overlap can be told apart all the same."
        )
    if study.repeated:
        note += (
            " Means over seeds, with the 95 % interval of the mean; on how many of its seeds a point is on the front of"
            " all points, of which those that were not run with the seed stand with their means."
        )
    return section("The Pareto front", table(heads, rows), note=note)


def attainment(page: Page, study: Study) -> str:
    """What shares of the seeds attain, where there are seeds enough."""
    chart = seed_charts.attainment(study)
    if chart is None:
        return ""
    note = (
        "On or below a line lies what at least this share of the seeds attains: half of them reach the middle line."
        " Points that were not run with a seed stand there with their means. Marks are the front of the means."
    )
    return section("What the seeds attain", page.chart("attainment", chart, height=380, narrow=340), note=note)


def course(page: Page, study: Study) -> str:
    """Hypervolume over time, and quality by missing pattern where it was measured."""
    history = page.chart("hypervolume", front_charts.hypervolume([study]), height=320)
    corner = " and ".join(f"{at:.3g} in {what}" for at, what in zip(study.reference, study.minimised, strict=True))
    note = (
        f"Area that the points dominate, up to the fixed reference point: {corner}. Pauses of the search are left out."
    )
    parts = [section("Hypervolume", history, note=note)]
    if study.patterns:
        chart = page.chart("patterns", study_charts.patterns(study), height=320)
        note = (
            f"{study.quality.name} of the picked points with only these modalities: l language, a acoustic, v visual."
        )
        if study.at_rates:
            note = f"{study.quality.name} of the picked points at each missing rate."
        parts.append(section("What is missing", chart, note=note))
    return f'<div class="pair">{"".join(parts)}</div>'


def settings(page: Page, study: Study, chosen: list[str], shares: Mapping[str, pd.DataFrame]) -> str:
    """Parallel coordinates, and the importance of the settings for each objective."""
    if not study.varying:
        return ""
    note = (
        "One line per point, the front in colour; a dash is a setting that does not apply. Point at one to follow it."
    )
    if len(chosen) < len(study.varying):
        note += f" The {len(chosen)} most important of {len(study.varying)} settings."
    if (behind := len(study.points) - len(study.front)) > MAX_LINES:
        note += f" Behind the front {MAX_LINES} of {behind} points, spread evenly over the search."
    chart = page.chart("parallel", study_charts.parallel(study, chosen), height=420, narrow=420)
    html = section("Settings", f'<div class="scroll"><div style="min-width:760px">{chart}</div></div>', note=note)
    panels = []
    for i, (name, share) in enumerate(shares.items()):
        if share.empty:
            continue
        chart = page.chart(f"importance{i}", study_charts.importance(share, series(i)), height=70 + 27 * len(share))
        note = (
            f"Share of the variance over {len(study.points)} points that each setting explains alone, less what chance"
            " explains; grey is not told from chance. A setting that a choice brings along counts within that choice."
        )
        panels.append(section(f"What matters for {name}", chart, note=note))
    return html + (f'<div class="pair">{"".join(panels)}</div>' if panels else "")


def panels(page: Page, study: Study, paths: Sequence[str]) -> str:
    """Quality against single settings."""
    note = f"{study.quality.label}: every point, and the mean over points with the same value (or in the same sixth)."
    made = [
        section(f"Against {short(path)}", page.chart(f"panel{i}", study_charts.panel(study, path), 300), note=note)
        for i, path in enumerate(paths)
    ]
    return f'<div class="pair">{"".join(made)}</div>' if made else ""


def work(page: Page, study: Study) -> str:
    """What reuse saved, and when each trial ran."""
    saved = progress.reuse(study)
    parts = []
    if len(saved.kinds):
        rows = []
        for kind, row in saved.kinds.iterrows():
            width = 100 * row["different"] / row["needed"]
            bar = f'<div class="bar" role="img" aria-label="{width:.0f} %"><i style="width:{width:.1f}%"></i></div>'
            cells = [
                Cell(str(kind)),
                Cell(str(row["needed"]), kind="number"),
                Cell(str(row["different"]), kind="number"),
            ]
            rows.append([*cells, Cell(html=bar), Cell(row["executors"])])
        heads = [("stage", ""), ("needed", "number"), ("different", "number"), ("", ""), ("run by", "")]
        parts.append(section("Reuse", table(heads, rows), note=progress.reuse_statement(study)))
    trials = progress.trials(study)
    if trials["started"].notna().any():
        height = 130 + min(640, 13 * len(trials))
        parts.append(section("Trials", page.chart("timeline", study_charts.timeline(study), height=height)))
    return f'<div class="pair">{"".join(parts)}</div>'


def lanes(page: Page, study: Study) -> str:
    """What ran where, and what was reused."""
    made = stage_lanes.lanes(study)
    if made is None:
        return ""
    chart = page.chart("lanes", lanes_charts.lanes(made), height=130 + min(640, 26 * made.num_places))
    note = "A bar is a run of a stage; its number says how many trials got the result without paying for it. "
    return section("What ran where", chart, note=note + stage_lanes.statement(made))


def failures(study: Study) -> str:
    """Trials and points that failed, with the reasons they gave."""
    failed = study.frame[study.frame["status"] == "failed"]
    if failed.empty:
        return ""
    rows = [
        [Cell(title(row).removeprefix("trial "), kind="number"), Cell(str(row["error"] or "no reason was recorded"))]
        for _, row in failed.iterrows()
    ]
    return section("Failed", table([("trial", "number"), ("reason", "")], rows), kind="warning")

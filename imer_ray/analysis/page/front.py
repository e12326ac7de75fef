"""The chart of quality against speed, with the place where a point is shown, pinned and compared."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from imer_ray.analysis.charts import front as charts
from imer_ray.analysis.charts.parts import best_compromise, describe, point_id
from imer_ray.analysis.page.page import Page, section
from imer_ray.results.study import Study

HOW = (
    "Point at a mark, or tap it, to see its configuration; a click pins it below, a second one unpins it. By keyboard:"
    " the arrow keys walk along the front, Enter pins, Esc unpins."
)
NAME = "@"  # stands for a point's name in a command; `shlex.quote` leaves it as it is


def front(page: Page, studies: Sequence[Study], note: str, above: str = "") -> str:
    """The section; the studies have points. ``above`` stands over the chart."""
    for study in studies:
        page.points |= describe(study)
    page.shown = best_compromise(studies[0])
    page.given["front"] = [point_id(study, index) for study in studies for index in study.front.index]
    page.given["commands"] = {study.name: commands(study) for study in studies}
    chart = page.chart("pareto", charts.pareto(studies), height=560, narrow=440)
    beside = '<div class="point" id="point" data-kept></div>'
    pins = '<div class="pins" id="pins" data-kept role="group" aria-label="Pinned points"></div>'
    said = '<p class="unseen" id="said" data-kept role="status"></p>'
    return section(
        "Quality against speed", above, f'<div class="front">{chart}{beside}</div>{pins}{said}', note=f"{HOW} {note}"
    )


def commands(study: Study) -> list[tuple[str, str, str]]:
    """What hands a point over and what comes next: (what it does, the command up to the point's name, and after it).

    A point's name is ``12`` or ``12.1`` (trial, and which of its further points), as `imer_ray.export` reads it.
    """
    config = shlex.quote(str(study.folder / "export" / f"trial_{NAME}.yaml"))
    texts = (
        ("Write its configuration", f"imer_ray.export run={shlex.quote(str(study.folder))} pick={NAME}"),
        ("Train it finally, with several seeds, and score the test split", f"imer_ray.train config={config}"),
        ("Predict clips", f"imer_ray.predict model=models/trial_{NAME} input=clips.parquet"),
        ("Answer over HTTP", f"imer_ray.serve model=models/trial_{NAME}"),
    )
    parts = [(said, *f"python -m {text}".rpartition(NAME)) for said, text in texts]
    return [(said, before, after) for said, before, _, after in parts]

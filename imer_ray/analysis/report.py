"""The whole report of a run, in its folder: the page, and the figures as PNG and SVG."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from imer_ray.analysis.importance import importances
from imer_ray.analysis.settings_curve import checked, weights_of
from imer_ray.errors import UserError
from imer_ray.files import make_folder, write_whole
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.study import Study, load

if TYPE_CHECKING:
    from imer_ray.analysis.page.page import Page

REPORT = "report"
MAX_AXES = 10  # settings that parallel coordinates stay readable with


def build(runs: Sequence[Path], panels: Sequence[str] = (), output: Path | None = None) -> list[Path]:
    """Write every run's report into its own folder, and of several runs a comparison into that of the first.

    Args:
        runs: folders with results.
        panels: settings to draw the quality against, beside the loss weights that a study varies.
        output: a folder to write into instead; of several runs, each run's report into a folder of it.

    Returns:
        The pages first, then the figures.

    Raises:
        UserError: a run's results are missing or damaged, runs cannot be compared, or the disk refuses.
    """
    studies = [load(Path(run)) for run in runs]
    if len(studies) > 1:
        from imer_ray.analysis.studies import check_comparable

        check_comparable(studies)
    folders = _folders(studies, output)
    for folder in folders:  # a folder that cannot be written is told before anything is drawn
        with _or_elsewhere():
            make_folder(folder)
    files = [file for study, folder in zip(studies, folders, strict=True) for file in _of_one(study, panels, folder)]
    if len(studies) > 1:
        from imer_ray.analysis.studies import comparison

        files += [((output or folders[0]) / name, content) for name, content in comparison(studies)]
    with _or_elsewhere():
        for path, content in files:
            write_whole(path, content)
    return sorted((path for path, _ in files), key=lambda path: path.suffix != ".html")


def _folders(studies: Sequence[Study], output: Path | None) -> list[Path]:
    """Where each study's report goes. A study's name comes from its file, and is no path."""
    if output is None:
        return [study.folder / REPORT for study in studies]
    if len(studies) == 1:
        return [output]
    names = [re.sub(r"[^\w-]+", "_", study.name) for study in studies]
    return [output / (name if names.count(name) == 1 else f"{name}_{i}") for i, name in enumerate(names)]


def _of_one(study: Study, panels: Sequence[str], folder: Path) -> Iterator[tuple[Path, bytes]]:
    shares = _importances(study)
    chosen, paths = _axes(study, shares), _panels(study, panels)
    yield folder / "index.html", page(study, chosen, shares, paths).encode(errors="replace")
    for name, content in _figures(study, chosen, shares, paths):
        yield folder / name, content


def page(study: Study, chosen: list[str], shares: Mapping[str, pd.DataFrame], paths: Sequence[str] = ()) -> str:
    return _made(study, chosen, shares, paths).render()


def whole_page(study: Study, panels: Sequence[str] = ()) -> Page:
    """The page of a study, yet to be rendered; ``panels`` are settings to draw the quality against."""
    shares = _importances(study)
    return _made(study, _axes(study, shares), shares, _panels(study, panels))


def _made(study: Study, chosen: list[str], shares: Mapping[str, pd.DataFrame], paths: Sequence[str]) -> Page:
    from imer_ray.analysis.page import header, sections
    from imer_ray.analysis.page.page import Page
    from imer_ray.analysis.page.trials import trials

    made = Page(f"{study.name}: quality against speed")
    made.add("<header>" + header.heading(study) + header.headline(study) + "</header>")
    if study.points.empty:
        made.add(sections.nothing_yet(study))
    else:
        made.add(sections.before_choosing(study))
        made.add(sections.front(made, study))
        made.add(sections.front_table(study))
        made.add(sections.attainment(made, study))
        made.add(sections.course(made, study))
        made.add(sections.settings(made, study, chosen, shares))
        made.add(sections.panels(made, study, paths))
    made.add(sections.work(made, study))
    made.add(sections.lanes(made, study))
    made.add(sections.failures(study))
    made.add(trials(made, study))
    return made


def _panels(study: Study, panels: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*weights_of(study), *checked(study, panels)]))


def _figures(
    study: Study, chosen: list[str], shares: Mapping[str, pd.DataFrame], paths: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    from imer_ray.analysis.figures import study as figures
    from imer_ray.analysis.figures.canvas import render
    from imer_ray.analysis.figures.lanes import lanes as lanes_figure
    from imer_ray.analysis.figures.panels import panels as panels_figure
    from imer_ray.analysis.lanes import lanes
    from imer_ray.analysis.spread import attainment

    drawn = {
        "pareto": figures.pareto([study]),
        "attainment": attainment(study),
        "hypervolume": figures.hypervolume([study]),
        "parallel": figures.parallel(study, chosen),
        "importance": figures.importance(shares),
        "patterns": figures.patterns(study),
        "timeline": figures.timeline(study),
        "lanes": lanes_figure(lanes(study)),
        "panels": panels_figure(study, paths),
    }
    for name, figure in drawn.items():
        if figure is not None:
            for suffix, content in render(figure).items():
                yield f"{name}.{suffix}", content


def _importances(study: Study) -> dict[str, pd.DataFrame]:
    """Name of the objective -> how much each searched setting explains of it (`imer_ray.analysis.importance`)."""
    columns = {CONFIG_PREFIX + path: path for path in study.varying}
    settings = study.points[list(columns)].rename(columns=columns)
    axes = zip(study.axes, study.objectives, strict=True)
    return {axis.name: importances(settings, study.points[column], study.points["trial"]) for axis, column in axes}


def _axes(study: Study, shares: Mapping[str, pd.DataFrame]) -> list[str]:
    """The settings to draw, in the space's order: the most important if they are many."""
    total = sum((found["share"].reindex(study.varying, fill_value=0.0) for found in shares.values()), start=0.0)
    most = pd.Series(total, index=study.varying).nlargest(MAX_AXES).index
    return [path for path in study.varying if path in most]


@contextmanager
def _or_elsewhere() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; python -m imer_ray.analysis RUN output=FOLDER writes elsewhere") from error

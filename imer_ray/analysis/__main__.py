"""``python -m analysis runs/demo [runs/other ...]``: the report of each run again; of several also side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from imer_ray import cli
from imer_ray.analysis import report, verdicts
from imer_ray.analysis.study import load
from imer_ray.analysis.table import render
from imer_ray.errors import printable

OUTPUT = "output="


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the reports of the runs that ``arguments`` name, by default the process's.

    Raises:
        UserError: a run cannot be read, or its report not be written.
    """
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    said = f"folder with results.parquet, as runs/demo; {OUTPUT}FOLDER writes into another folder than the runs' own"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=said)
    said = "also draw the quality against this setting, as diffusion.num_steps (may be repeated)"
    parser.add_argument("--panel", action="append", default=[], metavar="SETTING", help=said)
    options = parser.parse_args(arguments)
    runs = [Path(word) for word in options.runs if not word.startswith(OUTPUT)]
    outputs = [word.removeprefix(OUTPUT) for word in options.runs if word.startswith(OUTPUT)]
    if not runs or len(outputs) > 1 or "" in outputs:
        parser.error(f"name at least one run, and at most one {OUTPUT}FOLDER")
    written = report.build(runs, options.panel, Path(outputs[0]) if outputs else None)
    for run in runs:
        study = load(run)
        print(printable("\n".join([render(study), *verdicts.lines(study)])))
    for folder in dict.fromkeys(path.parent for path in written):
        pages = [path.name for path in written if path.parent == folder and path.suffix == ".html"]
        figures = sum(path.parent == folder and path.suffix == ".png" for path in written)
        said = f"wrote {folder}/: {', '.join(pages)} and {figures} figure{'s' * (figures != 1)} as PNG and SVG"
        print(printable(said))


if __name__ == "__main__":
    cli.guard(main)

"""Draw the reports of studies again, of several also a comparison: ``python -m imer_ray.analysis runs/demo ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from imer_ray import cli
from imer_ray.analysis import report, verdicts
from imer_ray.analysis.studies import cautions
from imer_ray.analysis.table import render
from imer_ray.errors import UserError, printable
from imer_ray.results.study import load

OUTPUT = "output="


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the reports of the runs that ``arguments`` name, by default the process's; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m imer_ray.analysis", description=__doc__)
    said = f"folder with results.parquet, as runs/demo; {OUTPUT}FOLDER writes into another folder than the runs' own"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=said)
    said = "also draw the quality against this setting, as diffusion.num_steps (may be repeated)"
    parser.add_argument("--panel", action="append", default=[], metavar="SETTING", help=said)
    options = parser.parse_args(arguments)
    runs = [Path(word) for word in options.runs if not word.startswith(OUTPUT)]
    outputs = [word.removeprefix(OUTPUT) for word in options.runs if word.startswith(OUTPUT)]
    if not runs or len(outputs) > 1 or "" in outputs:
        parser.error(f"name at least one run, and at most one {OUTPUT}FOLDER")
    try:
        written = report.build(runs, options.panel, Path(outputs[0]) if outputs else None)
        studies = [load(run) for run in runs]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return cli.FAILED
    for study in studies:
        print(printable("\n".join([render(study), *verdicts.lines(study)])))
    for said in cautions(studies):
        print(printable(f"not to be compared: {said}"))
    for folder in dict.fromkeys(path.parent for path in written):
        pages = [path.name for path in written if path.parent == folder and path.suffix == ".html"]
        figures = sum(path.parent == folder and path.suffix == ".png" for path in written)
        said = f"wrote {folder}/: {', '.join(pages)} and {figures} figure{'s' * (figures != 1)} as PNG and SVG"
        print(printable(said))
    return 0


def command() -> NoReturn:
    """Run this as the process's command."""
    cli.guard(lambda: sys.exit(main()))


if __name__ == "__main__":
    command()

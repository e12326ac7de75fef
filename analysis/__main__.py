"""``python -m analysis runs/demo [runs/other ...]``: the report of each run again; of several also side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import report, verdicts
from analysis.study import load
from analysis.table import render
from imer_ray.errors import UserError, printable

OUTPUT = "output="


def main(arguments: Sequence[str] | None = None) -> int:
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
    try:
        written = report.build(runs, options.panel, Path(outputs[0]) if outputs else None)
        for run in runs:
            study = load(run)
            print(printable("\n".join([render(study), *verdicts.lines(study)])))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for folder in dict.fromkeys(path.parent for path in written):
        pages = [path.name for path in written if path.parent == folder and path.suffix == ".html"]
        figures = sum(path.parent == folder and path.suffix == ".png" for path in written)
        said = f"wrote {folder}/: {', '.join(pages)} and {figures} figure{'s' * (figures != 1)} as PNG and SVG"
        print(printable(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m analysis runs/demo [runs/other ...]``: the report of each run again; of several also side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import report
from analysis.study import load
from analysis.table import render
from imer_ray.results.schema import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with results.parquet, as runs/demo")
    said = "also draw the quality against this setting, as diffusion.num_steps (may be repeated)"
    parser.add_argument("--panel", action="append", default=[], metavar="SETTING", help=said)
    options = parser.parse_args(arguments)
    runs = options.runs
    try:
        written = report.build(runs, options.panel)
        for run in runs:
            print(render(load(run)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for folder in dict.fromkeys(path.parent for path in written):
        pages = [path.name for path in written if path.parent == folder and path.suffix == ".html"]
        figures = sum(path.parent == folder and path.suffix == ".png" for path in written)
        print(f"wrote {folder}/: {', '.join(pages)} and {figures} figure{'s' * (figures != 1)} as PNG and SVG")
    return 0


if __name__ == "__main__":
    sys.exit(main())

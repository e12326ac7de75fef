"""Draw the reports of studies again, of several also a comparison: ``python -m imer_ray.analysis runs/demo ...``.

``watch=true`` serves the page of one study to this machine's browsers instead, up to date while its search runs, and
writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from imer_ray import cli
from imer_ray.analysis import report, verdicts
from imer_ray.analysis.studies import cautions
from imer_ray.analysis.table import render
from imer_ray.errors import UserError, printable
from imer_ray.results.study import load

KEYS = ("output", "watch", "port")
HELP = (
    "folder with results.parquet, as runs/demo; output=FOLDER writes into another folder than the runs' own;"
    " watch=true serves the page while a search runs, on a free port or port=8000"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the reports of the runs that ``arguments`` name, by default the process's, or watch one; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m imer_ray.analysis", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help=HELP)
    said = "also draw the quality against this setting, as diffusion.num_steps (may be repeated)"
    parser.add_argument("--panel", action="append", default=[], metavar="SETTING", help=said)
    options = parser.parse_args(arguments)
    named = [word.partition("=") for word in options.runs if word.partition("=")[0] in KEYS and "=" in word]
    values = {key: value for key, _, value in named}
    runs = [Path(word) for word in options.runs if word.partition("=")[0] not in KEYS or "=" not in word]
    if not runs or len(values) < len(named) or "" in values.values():
        parser.error("name at least one run, and output=FOLDER, watch=true and port=PORT at most once")
    try:
        if _is_true(values.get("watch", "false")):
            return _watch(runs, values, options.panel)
        if "port" in values:
            raise UserError("port=PORT is for watch=true")
        return _draw(runs, Path(values["output"]) if "output" in values else None, options.panel)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return cli.FAILED


def _is_true(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise UserError(f"watch must be true or false, not {word}")
    return word.lower() == "true"


def _watch(runs: Sequence[Path], values: Mapping[str, str], panels: Sequence[str]) -> int:
    from imer_ray.analysis.live.server import watch

    if len(runs) > 1 or "output" in values:
        raise UserError("watch=true shows one study and writes nothing: name one run, and no output")
    port = values.get("port", "0")
    if not port.isdecimal() or int(port) >= 2**16:
        raise UserError(f"port must be a number up to {2**16 - 1}, not {port}")
    try:
        watch(runs[0], int(port), panels, say=lambda text: print(printable(text), flush=True))
    except KeyboardInterrupt:  # how it is meant to end before the search does
        print()
    return 0


def _draw(runs: Sequence[Path], output: Path | None, panels: Sequence[str]) -> int:
    written = report.build(runs, panels, output)
    studies = [load(run) for run in runs]
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

"""Hand a point of a study over for final training: ``python -m imer_ray.export run=runs/demo pick=knee``.

Picks: ``quality`` (best on the front), ``speed`` (fastest on the front), ``knee`` (most gained of all), a further
objective of the study (``pick=num_parameters``: the best in it), a trial's number (``pick=4``, or ``pick=4.1`` for a
further point of its recogniser), or ``max_latency_ms=5``: the best quality among points whose single-clip latency stays
within the budget.

``python -m imer_ray.export model=models/knee format=onnx`` writes a trained model as graphs, one for each set of
available modalities, into ``onnx/`` in the folder of every seed: for ``runtime=onnx``, and for anybody who has ONNX
Runtime, as ``client.py`` beside them shows. ``format=torch`` writes programs for ``torch.export.load`` into ``torch/``.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from imer_ray import __version__, cli
from imer_ray.config.commands import ExportConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError, printable
from imer_ray.files import similar, write_whole
from imer_ray.received import shortened
from imer_ray.results.schema import RESULTS

if TYPE_CHECKING:
    import pandas as pd

    from imer_ray.results.study import Study

PICKS = ("quality", "speed", "knee")
NUMBER = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8}))?")  # a trial's, and maybe a point's


def main(overrides: list[str]) -> None:
    options = compose(ExportConfig, "export", overrides)
    if options.model is not None:
        export_model(options)
        return
    if (options.pick is None) == (options.max_latency_ms is None):
        raise UserError("say what to export: pick=quality, speed, knee or a trial's number, or max_latency_ms=5")
    path = export(Path(options.run), options.pick, options.max_latency_ms, options.output)
    print(f"wrote {path}")


def export_model(options: ExportConfig) -> None:
    """Write the graphs of a trained model into its folder.

    Raises:
        UserError: there is no such model, it has no graph, a package is missing, or the pick of a study is named too.
    """
    if options.pick is not None or options.max_latency_ms is not None or options.output is not None:
        raise UserError(
            "model=... writes graphs into the model's folder: pick, max_latency_ms and output are of a study"
        )
    from imer_ray.prediction.graph_export import export_graphs

    assert options.model is not None
    folders = export_graphs(Path(options.model), options.format, functools.partial(print, flush=True))
    for folder in folders:
        print(f"wrote {printable(str(folder))}")


def export(run: Path, pick: str | None, max_latency_ms: float | None = None, output: str | None = None) -> Path:
    """Write the picked point's configuration and what was measured of it; return the file's path.

    Raises:
        UserError: no such run or trial, no complete point, or none within the budget.
    """
    from imer_ray.results.schema import COSTS, read_results
    from imer_ray.results.study import of_frame

    _check_run(run)
    row, name = choose(of_frame(read_results(run / RESULTS), folder=run), pick, max_latency_ms)
    try:
        config = config_of(row)
    except ValueError as error:
        raise UserError(f"{run}: the configuration of trial {row['trial']} cannot be exported: {error}") from error
    path = Path(output) if output else run / "export" / f"{name}.yaml"
    if os.path.isdir(path):  # unlike `Path.is_dir` false of a name that is too long
        raise UserError(f"output={path} is a folder; name a file, for example output={path / name}.yaml")
    measured = {k: _plain(row[k]) for k in row.index if k.startswith("valid.") and k.count(".") == 1}
    content = {
        "imer_ray": {
            "version": __version__,
            "study": str(row["study"]),
            "trial": int(row["trial"]),
            "point": int(row["point"]),
            "pick": name,
            "num_seeds": int(row["num_seeds"]),  # that what was measured is the mean of
            "measured": {k: v for k, v in measured.items() if v is not None}
            | {k: _plain(row[k]) for k in COSTS if k in row.index},
        },
        "config": config,
    }
    try:
        write_whole(path, yaml.safe_dump(content, sort_keys=False).encode())
    except UserError as error:
        raise UserError(f"{error}; output=FILE.yaml writes it elsewhere") from error
    return path


def choose(study: Study, pick: str | None, max_latency_ms: float | None = None) -> tuple[pd.Series, str]:
    """The row of a picked point, and the pick's name.

    Raises:
        UserError: no such trial, no complete point, or none within the budget.
    """
    from imer_ray.analysis.labels import broken

    run = study.folder
    picks = study.every_pick
    if pick in picks:
        assert pick is not None
        return study.points.loc[picks[pick]], pick
    named = pick is not None and pick not in PICKS  # one result may have several names
    complete = study.choosable if named else study.points  # of each point the mean over its seeds
    if complete.empty and len(study.infeasible):
        advice = f"looser study.constraints take another study.name; study.warm_start={run} has it learn from this one"
        raise UserError(f"{run} has no point to export: {broken(study)}; {advice}")
    if complete.empty:
        raise UserError(f"{run} has no complete point to export; see the failed trials in {run}/{RESULTS}")
    return _pick(complete, pick, max_latency_ms, tuple(picks))


def config_of(row: pd.Series) -> dict[str, Any]:
    """The configuration of a point's row.

    Raises:
        ValueError: it holds no such thing.
    """
    from imer_ray.results.words import json_object

    return json_object(row["config"], "config")


def _check_run(run: Path) -> None:
    if not run.exists():
        raise UserError(f"run={run}: there is no such folder{similar(run)}; a search writes runs/<study.name>")
    if not run.is_dir():
        raise UserError(f"run={run} is a file; give the study's folder, for example run={run.parent}")
    if not (run / RESULTS).exists():
        raise UserError(f"run={run}: no {RESULTS} there, so that it is no study's folder{_studies_in(run)}")


def _studies_in(folder: Path) -> str:
    found = sorted(folder.glob(f"*/{RESULTS}"))
    return f"; one is run={found[0].parent}" if found else ""


def _pick(complete: Any, pick: str | None, max_latency_ms: float | None, known: Sequence[str]) -> tuple[Any, str]:
    if max_latency_ms is not None:
        within = complete[complete["latency_ms_b1"] <= max_latency_ms]
        if within.empty:
            fastest = complete["latency_ms_b1"].min()
            raise UserError(f"no point is within {max_latency_ms:g} ms a clip; the fastest takes {fastest:.3g} ms")
        return within.loc[within["objective.quality"].idxmin()], f"max_latency_{max_latency_ms:g}ms"
    assert pick is not None
    if (number := NUMBER.fullmatch(pick)) is None:
        said = f"pick={shortened(pick)}{similar(pick, known)}"
        raise UserError(f"{said}: choose {', '.join(known)}, a trial's number, or trial.point as in 4.1")
    trial, point = number.groups()
    rows = complete[(complete["trial"] == int(trial)) & (complete["point"] == int(point or "0"))]
    if rows.empty:
        raise UserError(f"{'point' if point else 'trial'} {pick} is not among the complete ones that may be chosen")
    return rows.iloc[0], f"trial_{pick}"


def _plain(value: Any) -> float | None:
    """A number for YAML; None for what was not measured."""
    number = math.nan if value is None else float(value)
    return None if number != number else number


if __name__ == "__main__":
    cli.run(main, ExportConfig)

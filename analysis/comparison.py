"""The figures of compared systems, from what `python -m imer_ray.evaluate` and `train` left in their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from analysis import feature_map, losses, scores
from analysis.canvas import render
from analysis.report import write_whole
from imer_ray.results.schema import UserError

HISTORY, LATENTS = "history.json", "recovered.parquet"
Models = Mapping[str, Sequence[Path]]
"""System -> the folders of its seeds."""


def draw(folder: Path, table: str, models: Models) -> list[str]:
    """Draw ``<table>.csv`` of a folder, the models' training and the recovered latents; returns the figures' names."""
    try:
        frame = pd.read_csv(folder / f"{table}.csv", dtype={"Setting": str}, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / table}.csv cannot be read ({error}); evaluate again to write it anew") from error
    drawn = [table] if _write(folder, table, scores.scores(frame)) else []
    drawn += draw_training(folder, models)
    if (folder / LATENTS).exists():
        latents = pq.read_table(folder / LATENTS).to_pandas()
        drawn += ["recovered"] if _write(folder, "recovered", feature_map.feature_maps(latents)) else []
    return drawn


def draw_training(folder: Path, models: Models) -> list[str]:
    """Draw the losses of models whose folders hold their history; empty if none does."""
    histories = {system: [_history(path) for path in paths] for system, paths in models.items()}
    return ["training"] if _write(folder, "training", losses.training(histories)) else []


def _history(folder: Path) -> losses.History:
    path = folder / HISTORY
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); train again to write it anew") from error


def _write(folder: Path, name: str, figure: Figure | None) -> bool:
    if figure is not None:
        for suffix, content in render(figure).items():
            write_whole(folder / f"{name}.{suffix}", content)
    return figure is not None

"""The figures of compared systems, from what `python -m imer_ray.evaluate` and `train` left in their folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from imer_ray.analysis.figures import feature_map, losses, scores
from imer_ray.analysis.figures.canvas import render
from imer_ray.errors import UserError
from imer_ray.files import write_whole

HISTORY, LATENTS = "history.json", "recovered.parquet"
MAX_HISTORY_BYTES = 2**24  # a hundred thousand epochs
MAX_STAGES, STAGE = 100, re.compile(r"[\w\[\]., -]{1,80}")
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
    if not os.path.lexists(path):
        return {}
    try:
        if not path.is_file() or path.stat().st_size > MAX_HISTORY_BYTES:  # a pipe would be waited for
            raise ValueError("no file of losses")
        history = json.loads(path.read_bytes())
        if not _is_history(history):
            raise ValueError("no losses of epochs")
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); train again to write it anew, or remove it") from error
    return history


def _is_history(content: object) -> bool:
    """Whether it is stage -> one entry per epoch -> name -> loss, of stages that can be drawn beside one another."""
    return (
        isinstance(content, dict)
        and len(content) <= MAX_STAGES
        and all(STAGE.fullmatch(name) for name in content)
        and all(isinstance(entries, list) for entries in content.values())
        and all(isinstance(entry, dict) for entries in content.values() for entry in entries)
        and all(map(_is_loss, (v for entries in content.values() for entry in entries for v in entry.values())))
    )


def _is_loss(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _write(folder: Path, name: str, figure: Figure | None) -> bool:
    if figure is not None:
        for suffix, content in render(figure).items():
            write_whole(folder / f"{name}.{suffix}", content)
    return figure is not None

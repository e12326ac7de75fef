"""Weights & Biases: a group of runs, one per trial and one for the study as a whole, in the project ``imer_ray``.

The environment says where to (WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY) and whether at all: with WANDB_MODE=offline
the runs lie in ``<study>/wandb/``, for ``wandb sync``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import Curves, Row, as_numbers, measured, searched, tag, title
from imer_ray.tuning.monitor.progress import Progress

PROJECT = "imer_ray"
QUIET: Mapping[str, Any] = {"silent": True, "console": "off", "x_disable_stats": True}


class WeightsAndBiases:
    """A trial's run has its searched settings as its configuration, what was measured of its own point as its summary,
    the objectives of all its points over their number, and its stages' curves over epochs."""

    def __init__(self, folder: Path, info: StudyInfo) -> None:
        self._folder = folder
        self._info = info
        self._study = self._run("study", "study")
        self._study.define_metric("*", step_metric="trials/done")

    def trial(self, rows: Sequence[Row], curves: Curves) -> None:
        first = rows[0]
        settings = {**searched(first, self._info), "seed": first.get("seed")}
        run = self._run(title(first), "trial", config=settings, tags=[first["status"]])
        run.define_metric("points/*", step_metric="points/number")
        for stage in curves:
            run.define_metric(tag(stage, "*"), step_metric=tag(stage, "epoch"))
        for row in rows:
            found = measured(row)
            points = {f"points/{o.metric}": found[o.metric] for o in self._info.objectives if o.metric in found}
            run.log({"points/number": row["point"], **points})
        for stage, epochs in curves.items():
            for epoch, values in sorted(epochs.items()):
                named = {tag(stage, name): value for name, value in values.items()}
                run.log({tag(stage, "epoch"): epoch, **named})
        run.summary.update({**measured(first), "trial": first["trial"], "error": first.get("error")})
        run.finish(exit_code=int(first["status"] == "failed"))

    def progress(self, progress: Progress) -> None:
        self._study.log({"trials/done": progress.done, **as_numbers(progress)})

    def close(self) -> None:
        self._study.finish()

    def _run(self, name: str, kind: str, **more: Any) -> Any:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=self._info.study,
            name=name,
            job_type=kind,
            dir=self._folder,
            reinit="create_new",  # the study's run stays open beside the trials'
            settings=wandb.Settings(**QUIET),
            **more,
        )


def open_logger(folder: Path, info: StudyInfo, before: Sequence[Row]) -> WeightsAndBiases:
    """Trials ``before`` have been told of, or are left out."""
    return WeightsAndBiases(folder, info)

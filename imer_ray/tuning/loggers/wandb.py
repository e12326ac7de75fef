"""Weights & Biases: a group of runs, one per trial and one for the study as a whole, in the project ``imer_ray``.

The environment says where to (WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY) and whether at all: with WANDB_MODE=offline
the runs lie in ``<study>/wandb/``, for ``wandb sync``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from imer_ray.files import write_whole
from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import Curves, Row, as_numbers, measured, searched, tag, title
from imer_ray.tuning.monitor.progress import Progress

PROJECT = "imer_ray"
TOKEN = "wandb/imer_ray"  # of a study's folder: what the names of its trials' runs begin with
QUIET: Mapping[str, Any] = {"silent": True, "console": "off", "x_disable_stats": True}


class WeightsAndBiases:
    """A trial's run has its searched settings as its configuration, what was measured of its own point as its summary,
    the objectives of all its points over their number, and its stages' curves over epochs. A trial that went on where
    it was stopped, or ran again, goes on with its run; offline these are two of one name, for ``wandb sync --append``.
    """

    def __init__(self, folder: Path, info: StudyInfo) -> None:
        self._folder = folder
        self._info = info
        self._token = _token(folder)
        self._study = self._run("study", "study")
        self._study.define_metric("*", step_metric="trials/done")

    def trial(self, rows: Sequence[Row], curves: Curves) -> None:
        first = rows[0]
        settings = {**searched(first, self._info), "seed": first.get("seed")}
        name = f"{self._token}-{title(first)}"
        run = self._run(title(first), "trial", id=name, resume="allow", config=settings, tags=[first["status"]])
        run.define_metric("points/*", step_metric="points/number")
        for stage in curves:
            run.define_metric(tag(stage, "*"), step_metric=tag(stage, "epoch"))
        for row in rows:
            found = measured(row)
            points = {f"points/{o.metric}": found[o.metric] for o in self._info.objectives if o.metric in found}
            run.log({"points/number": row["point"], **points})
        for stage, epochs in curves.items():
            last = run.summary.get(tag(stage, "epoch"), -1)  # that was written before the trial was stopped
            for epoch, values in sorted(item for item in epochs.items() if item[0] > last):
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


def _token(folder: Path) -> str:
    """Of a study, the same in all its commands, and no other's: one of the same name may be in the same project."""
    path = folder / TOKEN
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_whole(path, uuid.uuid4().hex[:8].encode())
    return path.read_text(encoding="utf-8")

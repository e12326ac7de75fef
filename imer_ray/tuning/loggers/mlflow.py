"""MLflow: the study is an experiment, each trial a run in it, nested in one for the study as a whole.

Goes where MLFLOW_TRACKING_URI says, or else to ``<study>/mlflow.db``, which
``mlflow ui --backend-store-uri sqlite:///runs/demo/mlflow.db`` shows. (MLflow gives up its store of plain files.)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import Curves, Row, as_numbers, measured, searched, tag, title
from imer_ray.tuning.monitor.progress import Progress

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs
ENDS = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
MOST_METRICS, MOST_PARAMETERS = 1000, 100  # that one call may carry


class MLflow:
    """A trial's run has its searched settings as parameters, what was measured of each of its points over the points'
    number, and its stages' curves over epochs; the study's run the front over trials. A trial that went on where it was
    stopped, or ran again, has one run: what is known of it already is not written twice."""

    def __init__(self, client: MlflowClient, info: StudyInfo, artifacts: str | None) -> None:
        self._client = client
        self._info = info
        found = client.get_experiment_by_name(info.study)
        made = client.create_experiment(info.study, artifacts) if found is None else found.experiment_id
        self._experiment = made
        self._study = self._known("tags.imer_ray = 'study'") or self._run("study", {"imer_ray": "study"})

    def trial(self, rows: Sequence[Row], curves: Curves) -> None:
        first = rows[0]
        started, ended = (_milliseconds(first[name]) for name in ("started", "finished"))
        before = self._known(f"tags.`{PARENT}` = '{self._study}' and attributes.run_name = '{title(first)}'")
        run = before or self._run(title(first), {"imer_ray": "trial", PARENT: self._study}, started)
        parameters = [Param(path, str(value)) for path, value in searched(first, self._info).items()]
        for some in _chunks(parameters, MOST_PARAMETERS):
            self._client.log_batch(run, params=some)
        tags = {"status": first["status"], "configuration": first["config"], "error": first.get("error") or ""}
        self._client.log_batch(run, tags=[RunTag(name, value) for name, value in tags.items() if value or before])
        metrics = [Metric(name, value, ended, row["point"]) for row in rows for name, value in measured(row).items()]
        for stage, epochs in curves.items():
            for epoch, values in sorted(epochs.items()):
                metrics += [Metric(tag(stage, name), value, ended, epoch) for name, value in values.items()]
        written = {name: self._written(run, name) for name in {metric.key for metric in metrics}} if before else {}
        self._log(run, (m for m in metrics if (m.step, m.value) not in written.get(m.key, ())))
        self._client.set_terminated(run, ENDS[first["status"]], ended)

    def progress(self, progress: Progress) -> None:
        now = _milliseconds(datetime.now().astimezone().isoformat())
        self._log(self._study, (Metric(name, v, now, progress.done) for name, v in as_numbers(progress).items()))

    def close(self) -> None:
        self._client.set_terminated(self._study)

    def _known(self, which: str) -> str | None:
        found = self._client.search_runs([self._experiment], which, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _written(self, run: str, name: str) -> set[tuple[int, float]]:
        return {(metric.step, metric.value) for metric in self._client.get_metric_history(run, name)}

    def _run(self, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        run = self._client.create_run(self._experiment, start_time=started, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def _log(self, run: str, metrics: Iterable[Metric]) -> None:
        for some in _chunks(list(metrics), MOST_METRICS):
            self._client.log_batch(run, metrics=some)


def open_logger(folder: Path, info: StudyInfo, before: Sequence[Row]) -> MLflow:
    """Trials ``before`` have been told of, or are left out."""
    for name in ("mlflow", "alembic"):  # which tell of every table that they make
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return MLflow(MlflowClient(tracking_uri=uri), info, None)
    here = folder.absolute()
    return MLflow(MlflowClient(tracking_uri=f"sqlite:///{here / DATABASE}"), info, (here / ARTIFACTS).as_uri())


def _milliseconds(moment: str) -> int:
    return round(1000 * datetime.fromisoformat(moment).timestamp())


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])

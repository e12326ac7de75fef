"""TensorBoard's event files in ``<study>/tensorboard/``: a run per trial, and one of the study as a whole."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import Curves, Row, as_numbers, measured, searched, tag, title
from imer_ray.tuning.monitor.progress import Progress

FOLDER, STUDY_RUN = "tensorboard", "study"
Scalars = Mapping[str, float]


class TensorBoard:
    """``trial-0012/`` has a trial's settings (HPARAMS and TEXT), what was measured of its own point, the objectives of
    all its points over their number, and its stages' curves over epochs; ``study/`` the front over trials."""

    def __init__(self, folder: Path, info: StudyInfo) -> None:
        self._folder = folder
        self._info = info
        self._study = self._writer(STUDY_RUN)

    def trial(self, rows: Sequence[Row], curves: Curves) -> None:
        writer = self._writer(title(rows[0]))
        for row in rows:
            ended = datetime.fromisoformat(row["finished"]).timestamp()
            found = measured(row)
            if row["point"] == 0:
                for part in self._settings(row):
                    writer.write_event(Event(wall_time=ended, summary=part))
                writer.write_event(_scalars(found, 0, ended))
            points = {f"points/{o.metric}": found[o.metric] for o in self._info.objectives if o.metric in found}
            writer.write_event(_scalars(points, row["point"], ended))
        for stage, epochs in curves.items():
            for epoch, metrics in sorted(epochs.items()):
                writer.write_event(_scalars({tag(stage, name): value for name, value in metrics.items()}, epoch))
        writer.close()

    def progress(self, progress: Progress) -> None:
        self._study.write_event(_scalars(as_numbers(progress), progress.done))
        self._study.flush()

    def close(self) -> None:
        self._study.close()

    def _settings(self, row: Row) -> Iterator[Summary]:
        values = searched(row, self._info)
        goals = {objective.metric: 0.0 for objective in self._info.objectives}  # named here, their values are scalars
        yield from summary.hparams(values, goals)
        yield summary.text("configuration", f"```json\n{json.dumps(json.loads(row['config']), indent=1)}\n```")
        if row.get("error"):
            yield summary.text("error", row["error"])

    def _writer(self, run: str) -> EventsWriter:
        folder = self._folder / run
        folder.mkdir(parents=True, exist_ok=True)
        # its name has only whole seconds by itself, and a file of the same name would be overwritten
        return EventsWriter(str(folder / "events"), f".{time.time_ns()}")


def open_logger(folder: Path, info: StudyInfo, before: Sequence[Row]) -> TensorBoard:
    """Trials ``before`` that have no run, because a driver was killed or had no such logger, get theirs now."""
    logger = TensorBoard(folder / FOLDER, info)
    for _, rows in itertools.groupby(before, key=lambda row: row["trial"]):
        of_trial = list(rows)
        if not (folder / FOLDER / title(of_trial[0])).exists():
            logger.trial(of_trial, {})
    return logger


def _scalars(values: Scalars, step: int, wall_time: float | None = None) -> Event:
    """All values of a step in one event."""
    parts = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    return Event(wall_time=time.time() if wall_time is None else wall_time, step=step, summary=Summary(value=parts))

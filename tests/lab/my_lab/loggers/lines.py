"""One line of JSON a trial, in ``lines.jsonl`` of the study's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import Curves, Row, measured, searched
from imer_ray.tuning.monitor.progress import Progress


class Lines:
    def __init__(self, path: Path, info: StudyInfo) -> None:
        self._path, self._info = path, info

    def trial(self, rows: Sequence[Row], curves: Curves) -> None:
        own = rows[0]
        line = {"trial": own["trial"], "settings": searched(own, self._info), "measured": measured(own)}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def progress(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


def open_logger(folder: Path, info: StudyInfo, before: Sequence[Row]) -> Lines:
    return Lines(folder / "lines.jsonl", info)

"""The study's file: every proposal and result, appended as it happens. Optuna's journal, one JSON object a line.

Optuna's own backend locks and syncs the file at each of a trial's dozen entries, 70 ms a trial on a busy disk. Here one
driver has the study (see `imer_ray.tuning.lock`), so that no lock is needed, and an entry is handed to the system,
which keeps it when this process is killed; `sync` has it on the disk. Half a line, left by a killed driver, is dropped.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection

from imer_ray.errors import UserError
from imer_ray.files import disk_errors
from imer_ray.results.schema import Objective

FILE_NAME = "study.journal"


class Journal(BaseJournalBackend):
    """Appends to and reads one file; any Optuna can read it with its JournalFileBackend."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = (0, 0)  # number and offset of the first line that has not been read
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab+") as file:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        number, offset = self._read if self._read[0] <= log_number_from else (0, 0)
        with open(self.path, "rb") as file:
            file.seek(offset)
            for line in file:
                number, offset = number + 1, offset + len(line)
                self._read = (number, offset)
                if number > log_number_from:
                    yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with disk_errors(self.path), open(self.path, "ab") as file:
            file.write(lines.encode())

    def sync(self) -> None:
        """Wait until all entries are on the disk."""
        with disk_errors(self.path), open(self.path, "ab") as file:
            os.fsync(file.fileno())


def open_study(journal: Journal, num_objectives: int) -> optuna.Study:
    """Open or begin the study of a journal; all objectives are minimised.

    Raises:
        UserError: the file is damaged, or the disk forbids it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = [StudyDirection.MINIMIZE] * num_objectives
    try:
        storage = JournalStorage(journal)
        return optuna.create_study(storage=storage, study_name="study", directions=directions, load_if_exists=True)
    except (ValueError, KeyError) as error:
        advice = "restore it from a copy, or choose another study.name"
        raise UserError(f"{journal.path} is damaged ({error}); {advice}") from error


def name_objectives(study: optuna.Study, objectives: Sequence[Objective]) -> None:
    """Have optuna-dashboard and Optuna's own figures say what the values are."""
    names = [f"{objective.name}: {objective.label}" for objective in objectives]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.metric_names != names:
            study.set_metric_names(names)

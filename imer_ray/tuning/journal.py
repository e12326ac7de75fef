"""The study's file: every proposal and result, appended as it happens. Optuna's journal, made safe to come back to.

A driver that is killed may leave half a line at the end and its lock beside the file. Both are removed when the next
driver opens the journal, which is safe because only one driver at a time has the study (see `imer_ray.tuning.lock`).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from imer_ray.errors import UserError
from imer_ray.files import disk_errors

FILE_NAME = "study.journal"


def open_journal(folder: Path, num_objectives: int) -> optuna.Study:
    """Open or begin the journal in a study's folder; all objectives are minimised.

    Raises:
        UserError: the file is damaged, or the disk forbids it.
    """
    path = folder / FILE_NAME
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        _drop_half_line(path)
        path.with_name(f"{FILE_NAME}.lock").unlink(missing_ok=True)
        try:
            storage = JournalStorage(JournalFileBackend(str(path)))
            directions = ["minimize"] * num_objectives
            return optuna.create_study(storage=storage, study_name="study", directions=directions, load_if_exists=True)
        except (ValueError, KeyError) as error:
            advice = "restore it from a copy, or choose another study.name"
            raise UserError(f"{path} is damaged ({error}); {advice}") from error


def _drop_half_line(path: Path) -> None:
    if not path.exists():
        return
    with open(path, "rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)

"""The study's file: every proposal and result, appended as it happens. Optuna's journal, one JSON object a line.

Optuna's own backend locks and syncs the file at each of a trial's dozen entries, 70 ms a trial on a busy disk. Here one
driver has the study (see `.lock`), so that no lock is needed, and an entry is handed to the system,
which keeps it when this process is killed; `sync` has it on the disk. Half a line, left by a killed driver, is dropped.

Each entry that we write ends with a check: a hash of the entry and of the check before it. So an entry that was
changed, dropped, doubled or moved is found, with its line. Entries without one, of earlier versions or of Optuna's own
tools (optuna-dashboard keeps notes here), are read like any other; all must have the form of one
(`imer_ray.tuning.study.journal_entry`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
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
from imer_ray.results.schema import RESULTS, Objective
from imer_ray.tuning.study._optuna import JournalOperation
from imer_ray.tuning.study.journal_entry import ROWS, EntryCheck

FILE_NAME = "study.journal"
STUDY = "study"  # the name of the journal's first and only study
CHECK = "check"  # last key of an entry
MAX_BYTES = 2**26  # of a line; a trial's rows take some ten thousand
_CHECKED = re.compile(rb',"check":"([0-9a-f]{16})"\}\r?\n\Z')


class Journal(BaseJournalBackend):
    """Appends to and reads one file; any Optuna can read it with its JournalFileBackend."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = (0, 0)  # number of lines that have been read, and where the next begins
        self._check = ""  # of the last checked line that has been read
        self._num_checked = 0  # lines whose check and form have been looked at
        self._tip: str | None = None  # check of the last line that was appended here
        self._entries = EntryCheck()
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file; move it away")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._drop_half_a_line()

    @property
    def is_empty(self) -> bool:
        return not self.path.exists() or self.path.stat().st_size == 0

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        number, offset = self._read if self._read[0] <= log_number_from else (0, 0)
        if self.is_empty:
            return
        with open(self.path, "rb") as file:
            file.seek(offset)
            while (line := file.readline(MAX_BYTES)).endswith(b"\n"):
                number, offset = number + 1, offset + len(line)
                self._read = (number, offset)
                if number > self._num_checked:
                    entry = self._looked_at(line)
                    self._num_checked = number
                elif number > log_number_from:
                    entry = json.loads(line)
                if number > log_number_from:
                    yield entry
        if len(line) == MAX_BYTES:
            raise self.damaged("no entry is that long", number + 1)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = b"".join(self._checked(log) for log in logs)
        with disk_errors(self.path), open(self.path, "ab") as file:
            file.write(lines)

    def sync(self) -> None:
        """Wait until all entries are on the disk."""
        with disk_errors(self.path), open(self.path, "ab") as file:
            os.fsync(file.fileno())

    def damaged(self, reason: object, number: int | None = None) -> UserError:
        """What to raise for a line, by default for the last that was read."""
        number = self._read[0] if number is None else number
        advice = "restore it from a copy, or choose another study.name"
        folder = self.path.parent
        if (folder / RESULTS).exists():
            advice += f"; study.warm_start={folder} has that one learn from what {RESULTS} still holds"
        return UserError(f"{self.path} is damaged in line {number} ({_words(reason)}); {advice}")

    def line_of(self, trial_id: int) -> int:
        """The line that says how one of Optuna's trials ended, or else the last that says anything of it."""
        found, num_trials = [0], -1
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                entry = json.loads(line)
                num_trials += (created := entry["op_code"] == JournalOperation.CREATE_TRIAL)
                if (num_trials if created else entry.get("trial_id")) == trial_id:
                    found.append(number)
                    if ROWS in entry.get("user_attr", {}):
                        return number
        return found[-1]

    def _checked(self, log: dict[str, Any]) -> bytes:
        body = json.dumps(log, separators=(",", ":")).encode()
        self._tip = _chained(self._check if self._tip is None else self._tip, body)
        return body[:-1] + f',"{CHECK}":"{self._tip}"}}\n'.encode()

    def _looked_at(self, line: bytes) -> dict[str, Any]:
        """The entry of a line that has not been read before.

        Raises:
            UserError: it is none, or does not follow from those before it.
        """
        if not line.strip():
            raise self.damaged("it is blank: delete the line")
        try:
            entry = json.loads(line)
            if isinstance(entry, dict) and CHECK in entry:
                form = _CHECKED.search(line)
                self._check = _chained(self._check, line[: form.start()] + b"}") if form else ""
                if entry[CHECK] != self._check:
                    raise ValueError("it does not follow from the line before: one was changed, lost, doubled or moved")
            self._entries.take(entry)
        except (ValueError, RecursionError) as error:
            reason = "no JSON" if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)) else error
            raise self.damaged(reason) from error
        return dict(entry)

    def _drop_half_a_line(self) -> None:
        """Cut off what comes after the last line: half an entry or zeros, left by a killed driver or a machine that
        lost power, or blank lines, left by an editor."""
        with open(self.path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_BYTES))
            tail = file.read()
            end = tail.rfind(b"\n") + 1
            rest = tail[end:].strip(b"\0 \t\r\n")
            if rest and (rest[:1] != b"{" or len(rest) == MAX_BYTES):
                raise self.damaged("that is no entry", 1 + self._num_lines(size - len(tail) + end))
            whole = tail[:end].rstrip()
            end = tail.find(b"\n", len(whole)) + 1 if whole else 0
            if end < len(tail):
                file.truncate(size - len(tail) + end)

    def _num_lines(self, end: int) -> int:
        with open(self.path, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(min(2**20, end - file.tell())), b""))


def open_study(journal: Journal, num_objectives: int) -> optuna.Study:
    """Open the study of a journal, or begin it with so many objectives; all are minimised.

    Raises:
        UserError: the file is damaged, or the disk forbids it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = [StudyDirection.MINIMIZE] * num_objectives
    try:
        storage = JournalStorage(journal)
        if any(study.study_name == STUDY for study in storage.get_all_studies()):
            study = optuna.load_study(storage=storage, study_name=STUDY)
        else:
            study = optuna.create_study(storage=storage, study_name=STUDY, directions=directions)
    except UserError:
        raise
    except Exception as error:  # whatever Optuna makes of an entry that it cannot follow, in the line read last
        raise journal.damaged(error) from error
    if any(direction != StudyDirection.MINIMIZE for direction in study.directions):
        raise journal.damaged("its study has objectives that are not minimised", 1)
    return study


def name_objectives(study: optuna.Study, objectives: Sequence[Objective]) -> None:
    """Have optuna-dashboard and Optuna's own figures say what the values are."""
    names = [f"{objective.name}: {objective.label}" for objective in objectives]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.metric_names != names:
            study.set_metric_names(names)


def _chained(before: str, body: bytes) -> str:
    return hashlib.blake2b(before.encode() + body, digest_size=8).hexdigest()


def _words(reason: object) -> str:
    """One line, also of an exception that says nothing or too much."""
    if isinstance(reason, RecursionError):
        return "nested too deeply"
    text = " ".join(str(reason).split()) or type(reason).__name__
    text = f"{text} is missing" if isinstance(reason, KeyError) else text
    return text if len(text) <= 120 else text[:117] + "..."

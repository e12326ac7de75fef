"""The chosen loggers of a search, each in a thread of its own: none of them holds up the search, or ends it."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from imer_ray.config import plugins
from imer_ray.errors import UserError, printable
from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import Curves, Logger, Row
from imer_ray.tuning.monitor.progress import Progress

PACKAGE = "imer_ray.tuning.loggers"
PATIENCE_SECONDS = 60.0  # that the end of a search waits for a slow server


def check_loggers(names: Iterable[str]) -> None:
    """Raise UserError if the package of a chosen logger is not installed."""
    for name in names:
        _module(name)


class Log:
    """Passes on to all loggers what has happened.

    Args:
        names: modules of `imer_ray.tuning.loggers`.
        folder: the study's.
        before: rows of the trials that had ended before.
    """

    def __init__(self, names: Iterable[str], folder: Path, info: StudyInfo, before: Sequence[Row]) -> None:
        self._threads = [_Background(name, folder, info, list(before)) for name in names]

    def trial(self, rows: Sequence[Row], curves: Curves) -> None:
        for thread in self._threads:
            thread.do(lambda logger: logger.trial(rows, curves))

    def progress(self, progress: Progress) -> None:
        for thread in self._threads:
            thread.do(lambda logger: logger.progress(progress))

    def close(self) -> None:
        """Wait until all is written, but not for ever."""
        for thread in self._threads:
            thread.finish()


class _Background:
    """A logger and the thread that it works in. Its first error is its last: then it is left alone."""

    def __init__(self, name: str, folder: Path, info: StudyInfo, before: Sequence[Row]) -> None:
        self._name = name
        self._open = lambda: _module(name).open_logger(folder, info, before)
        self._queue: queue.SimpleQueue[Callable[[Logger], None] | None] = queue.SimpleQueue()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name=f"logger {name}", daemon=True)
        self._thread.start()

    def do(self, what: Callable[[Logger], None]) -> None:
        if not self._failed:
            self._queue.put(what)

    def finish(self) -> None:
        self._queue.put(None)
        self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            self._warn(f"did not finish within {PATIENCE_SECONDS:.0f} s")

    def _run(self) -> None:
        try:
            logger: Logger = self._open()
            while (what := self._queue.get()) is not None:
                what(logger)
            logger.close()
        except Exception as error:  # a full disk, a server that is gone: no reason to lose a search
            self._failed = True
            self._warn(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")

    def _warn(self, reason: str) -> None:
        said = f"warning: the logger {self._name} stopped ({printable(reason)}); the search goes on without it"
        print(said, file=sys.stderr)


def _module(name: str) -> Any:
    try:
        return plugins.module(PACKAGE, name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"study.loggers={name}: the package {error.name} is not installed; install it with "
            f"pip install 'imer-ray[{name}]', or leave {name} out of study.loggers"
        ) from error

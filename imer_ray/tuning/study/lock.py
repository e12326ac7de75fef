"""One driver at a time: whoever has the study's folder keeps the others out until it ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from imer_ray.errors import UserError
from imer_ray.files import disk_errors

FILE_NAME = "driver.lock"


@contextlib.contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    The kernel holds it for the open file and lets it go when the process dies, so a killed driver leaves none behind.

    Raises:
        UserError: another process has it; the message names host and process.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / FILE_NAME, "a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(f"{folder} is being searched by {_holder(file.read())}; wait for it or stop it") from error
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        yield


def _holder(text: str) -> str:
    try:
        content = json.loads(text)
        return f"process {content['pid']} on {content['host']}"
    except (ValueError, KeyError, TypeError):  # it has just taken the lock and not said yet who it is
        return "another process"

"""One driver at a time: whoever has the study's folder keeps the others out until it ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from imer_ray.errors import UserError
from imer_ray.files import disk_errors
from imer_ray.results.driver import FILE_NAME, Driver, parse


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
            with disk_errors(folder):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            driver = parse(file.read())
            holder = f"process {driver.pid} on {driver.host}" if driver else "another process"
            raise UserError(f"{folder} is being searched by {holder}; wait for it or stop it") from error
        with disk_errors(folder):
            file.truncate(0)
            file.write(Driver.own().to_text())
            file.flush()
            os.fsync(file.fileno())  # other machines see what an NFS client has sent
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a full disk, and the process is dead for whoever asks soon enough
                file.truncate(0)

"""How many other processes compute a stage on this node: what a measurement of time has to share the machine with."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from imer_ray.files import open_own, user_folder

SUFFIX = ".running"


def folder() -> Path:
    """Where the processes of this user on this node tell each other that they compute: on its own disk, not shared."""
    return user_folder() / "running"


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Be one of the neighbours that others count, for as long as the block runs.

    A locked file says so. The kernel lets the lock go when the process dies, so that a killed one is not counted.
    """
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    name = f"{os.getpid()}-{uuid.uuid4().hex}"
    with open(place / name, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        path = (place / name).rename(place / f"{name}{SUFFIX}")  # only now, so that nobody sees it without its lock
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def num_neighbours() -> int:
    """Other processes that are in `announced` now; what dead ones left is cleared away."""
    found = 0
    for path in folder().glob(f"*{SUFFIX}"):
        if path.name.startswith(f"{os.getpid()}-"):
            continue
        with contextlib.suppress(OSError), open_own(path) as file:  # gone meanwhile, or nobody's announcement
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found += 1
            else:
                path.unlink(missing_ok=True)
    return found

"""librosa's compiled functions, made by one process at a time."""

from __future__ import annotations

import fcntl
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_COMPILED: set[str] = set()  # what this process has called


@contextmanager
def compiled_alone(what: str) -> Iterator[None]:
    """Import and call ``what`` of librosa in this block; the first time, no other process of this machine does so.

    numba keeps what it compiles beside librosa's code. Two processes that fill this cache at once now and then leave a
    function in it that calls another by a name which only the other process knew: from then on whoever calls it dies of
    a segmentation fault, until librosa is installed again. The kernel lets the lock go when a process dies.
    """
    if what in _COMPILED:
        yield
        return
    spec = importlib.util.find_spec("librosa")
    if spec is None or spec.origin is None:  # nothing to lock: the import in the block fails
        yield
        return
    with open(spec.origin, "rb") as file:
        _lock(file.fileno())
        yield
    _COMPILED.add(what)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(
            "waiting for another process that loads librosa (half a minute the first time)", file=sys.stderr, flush=True
        )
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks, or NFS, where a file that is only read cannot be locked
        return

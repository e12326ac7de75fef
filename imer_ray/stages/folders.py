"""The files of a store's root on a local disk: listed, read, and folders of them removed whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imer_ray.files import write_whole
from imer_ray.stages.artefact import rename

WORK = ".work"  # what running stages leave for whoever resumes them: .work/<key>
CLAIMS = ".claims"  # who computes a stage at this moment
USED = ".used"  # markers of an object store: .used/<key> is as old as the last use of the artefact <key>


@dataclass(frozen=True, kw_only=True)
class File:
    """A file under a store's root; ``modified`` is in seconds since 1970, on the file system's clock."""

    path: str
    size: int
    modified: float


class Folders(Protocol):
    """What listing and evicting need of a root; `RemoteFolders` is the other one."""

    def files(self) -> Iterator[File]: ...
    def names(self, folder: str) -> list[str]: ...
    def read(self, name: str) -> bytes | None: ...
    def modified(self, name: str) -> float | None: ...
    def write(self, name: str, content: bytes) -> None: ...
    def evict(self, name: str, first: str, used: float) -> bool: ...
    def delete(self, name: str) -> None: ...
    def delete_file(self, name: str) -> None: ...


class LocalFolders:
    """A root on a file system with atomic rename."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self) -> Iterator[File]:
        """All files under the root; those that vanish meanwhile are left out."""
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(path)
                    relative = os.path.relpath(path, self._root)
                    yield File(path=relative, size=status.st_size, modified=status.st_mtime)

    def names(self, folder: str) -> list[str]:
        """The files of a folder; none if there is no such folder."""
        with contextlib.suppress(FileNotFoundError):
            return [name for name in os.listdir(self._root / folder) if not name.startswith(".")]
        return []

    def modified(self, name: str) -> float | None:
        """When a file was written last, in seconds since 1970 on the file system's clock; None if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return (self._root / name).stat().st_mtime
        return None

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if it does not exist."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a small file."""
        write_whole(self._root / name, content)

    def evict(self, name: str, first: str, used: float) -> bool:
        """Remove a folder whole, unless its file ``first`` was touched after ``used``; returns whether it is gone.

        It is renamed, to a name by which the store knows what a killed process has left, looked at, and deleted: who
        used it until then has its folder back, who comes later finds none.
        """
        aside = self._root / f".tmp-{name}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            os.rename(self._root / name, aside)
        except FileNotFoundError:
            return False
        with contextlib.suppress(FileNotFoundError):
            if (aside / first).stat().st_mtime > used and rename(aside, self._root / name):
                return False
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def delete(self, name: str) -> None:
        """Delete a folder or file, if it exists."""
        path = self._root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            self.delete_file(name)

    def delete_file(self, name: str) -> None:
        """Delete a file, if it exists."""
        (self._root / name).unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine lives. One that has ended and that nobody has waited for does not, as those of
    a container whose first process reaps none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system, or it has just gone
        return True
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")

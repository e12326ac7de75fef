"""One artefact's folder on this machine: read, checked, moved."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imer_ray.stages.manifest import FILE_NAME, DamagedArtefact, Manifest, check_files

NUM_LOOKS = 3  # at a folder that others evict and commit meanwhile
_checked: dict[Path, list[tuple[str, int, int]]] = {}  # folder -> (file, size, mtime) when its checksums were right


class MissingArtefact(LookupError):
    """An artefact that is not in the store, or was damaged and has just been put aside."""


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A finished stage's files in a local folder, to be read only, and its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.manifest.metrics

    @property
    def seconds(self) -> float:
        return self.manifest.seconds


def check(key: str, folder: Path) -> Artefact:
    """The artefact in ``folder``, its checksums verified unless they were and no file has changed since.

    Raises:
        DamagedArtefact: it is not what its manifest says, or the manifest is not whole.
        MissingArtefact: there is no such folder, or it was evicted at this moment.
    """
    for _ in range(NUM_LOOKS):
        if (before := _identity(folder)) is None:
            raise MissingArtefact(f"there is no {folder}")
        try:
            return _check(key, folder)
        except (DamagedArtefact, FileNotFoundError):
            # One folder may be evicted and the next one committed during a look: only one that stayed is damaged.
            if before == _identity(folder):
                raise
        except OSError as error:
            if error.errno != errno.ESTALE:  # what NFS says of a file that another machine has deleted
                raise
    raise MissingArtefact(f"{folder} is being evicted")


def _check(key: str, folder: Path) -> Artefact:
    try:
        manifest = Manifest.from_json((folder / FILE_NAME).read_bytes())
    except FileNotFoundError:
        raise DamagedArtefact(f"{FILE_NAME} is missing") from None
    if manifest.key != key:
        raise DamagedArtefact(f"it is the artefact {manifest.key}")
    seen = [_signature(folder, name) for name in manifest.files]
    if _checked.get(folder) != seen:
        check_files(manifest, folder)
        _checked[folder] = seen
    return Artefact(folder=folder, manifest=manifest)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder stands there now; None if there is none.

    NFS remembers for up to a minute what is in a folder, and what is not, but asks again about one that is opened.
    """
    with contextlib.suppress(OSError):  # one that may not be listed
        os.close(os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY))
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_ctime_ns


def _signature(folder: Path, name: str) -> tuple[str, int, int]:
    try:
        status = (folder / name).stat()
    except FileNotFoundError:
        return name, -1, -1
    return name, status.st_size, status.st_mtime_ns


def rename(source: Path, target: Path) -> bool:
    """Rename a folder; False if the target exists. The file system decides who is first."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True

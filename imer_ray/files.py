"""Files that appear whole or not at all, and errors of the disk in words."""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imer_ray.errors import UserError

_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota exceeded", errno.EFBIG: "file size limit reached"}
_DENIED = {
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOTDIR: "not a folder",
    errno.ENOENT: "no such folder",
    errno.EEXIST: "a file is in the way",
    errno.EISDIR: "a folder is in the way",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "links that lead in a circle",
}


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn a full or forbidden disk into a UserError that names ``path``.

    safetensors reports a full disk as an error type of its own with the system's words, so the text counts too.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = {**_FULL, **_DENIED}.get(number or 0)
        if reason is None:
            reason = next((_FULL[n] for n in _FULL if f"os error {n})" in str(error)), None)
        if reason is None:
            raise
        advice = "choose another folder" if number in _DENIED else "free some space or choose another folder"
        raise UserError(f"cannot write {path}: {reason}; {advice}, then run the same command again") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write aside, flush to the disk, rename: whoever looks finds the old file or the new one, never half of it."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def make_folder(path: Path) -> None:
    """Make a folder that results will be written into; UserError if that is impossible, before they are worked out."""
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def similar(wanted: Path | str, known: Iterable[str] | None = None) -> str:
    """``; did you mean NAME?`` of what lies beside a missing file or is ``known``; empty if nothing is like it."""
    path = Path(wanted)
    names = sorted(os.listdir(path.parent)) if known is None and path.parent.is_dir() else list(known or ())
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0] if known is None else close[0]}?" if close else ""


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

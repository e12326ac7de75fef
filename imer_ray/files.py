"""Files that appear whole or not at all, and errors of the disk in words."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imer_ray.errors import UserError

_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota exceeded", errno.EFBIG: "file size limit reached"}
_DENIED = {
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOTDIR: "not a folder",
    errno.EEXIST: "a file is where a folder should be",
    errno.EISDIR: "a folder is where a file should be",
    errno.ENAMETOOLONG: "the name is too long",
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


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

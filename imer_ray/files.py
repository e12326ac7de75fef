"""Files that appear whole or not at all, errors of the disk in words, and temporary folders that are the user's own."""

from __future__ import annotations

import errno
import fcntl
import getpass
import hashlib
import os
import shutil
import socket
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from imer_ray.errors import UserError, closest_word

FRESH = "imer_ray."  # followed by what `tempfile.mkdtemp` chooses
LOCK = "lock"  # in a fresh folder: locked by its process, so that the kernel lets it go when that dies
_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota exceeded", errno.EFBIG: "file size limit reached"}
_DENIED = {
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOTDIR: "not a folder",
    errno.EEXIST: "a file is in the way",
    errno.EISDIR: "a folder is in the way",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "links that lead in a circle",
    errno.ENOLCK: "its file system keeps no locks, as NFS without its lock service",
    errno.EOPNOTSUPP: "its file system cannot do that, as some network folders keep no locks",
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
    """Write a file as `whole_file` does."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write aside, flush to the disk, rename: whoever looks finds the old file or the new one, never half of it.

    If the block fails or is interrupted, the old file stays.
    """
    aside = beside(path)
    with disk_errors(path):
        _make(path.parent)
        try:
            with open(aside, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def beside(path: Path) -> Path:
    """A hidden name of its own beside a path, where what will be there is made."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def replace_folder(folder: Path, aside: Path) -> None:
    """Put the folder ``aside``, which is whole, in the place of ``folder``, which there need not be.

    The old one is moved away first and removed last: removing takes a while, in which it would be half there.
    """
    old = beside(folder)
    if folder.exists():
        os.rename(folder, old)
    os.rename(aside, folder)
    shutil.rmtree(old, ignore_errors=True)


def check_absent(output: Path) -> None:
    """Refuse a file to write where something lies already: it might be what took a day to make, or the input itself."""
    with disk_errors(output):
        taken = os.path.lexists(output)
    if taken:
        raise UserError(f"output={output} already exists; choose another name or remove it")


def make_folder(path: Path) -> None:
    """Make a folder that results will be written into; UserError if that is impossible, before they are worked out."""
    with disk_errors(path):
        _make(path)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as below /proc, or where somebody removes it at this moment
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def similar(wanted: Path | str, known: Iterable[str] | None = None) -> str:
    """``; did you mean NAME?`` of what lies beside a missing file or is ``known``; empty if nothing is like it."""
    path = Path(wanted)
    names = os.listdir(path.parent) if known is None and path.parent.is_dir() else list(known or ())
    if (meant := closest_word(path.name, names)) is None:
        return ""
    return f"; did you mean {path.parent / meant if known is None else meant}?"


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shipped_folder(name: str) -> Path:
    """A folder of ours that is no code, as ``search_spaces``: beside imer_ray in a checkout, within it in a wheel.

    Whatever has this name in the folder that a command runs in is the user's, and is not looked at.
    """
    package = Path(__file__).resolve().parent
    return next((path for path in (package / name, package.parent / name) if path.is_dir()), package / name)


def user_folder() -> Path:
    """This user's lasting folder among this machine's temporary files: mode 0700, and nobody else had a hand in it.

    Its name can be guessed, so somebody else may have taken it; then the user's has letters more.

    Raises:
        UserError: there is no place for temporary files.
    """
    base, name = temporary_base(), f"imer_ray-{os.geteuid()}"
    with disk_errors(base):
        with suppress(FileExistsError):
            (base / name).mkdir(mode=0o700)
        private = [path for path in (base / name, *sorted(base.glob(f"{name}-*"))) if _is_private(path)]
        return private[0] if private else Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))


def may_write(folder: Path) -> bool:
    """Whether this user may make files in a folder, or make the folder if there is none."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def cache_folder() -> Path:
    """Where this user's caches go: among temporary files if there is no home that he may write, as in a container."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return base if base.is_absolute() and may_write(base) else user_folder() / "cache"


def provide_home() -> None:
    """Give this process and its children what libraries expect of a user: a name, a home, and a place for caches.

    A container may run under a number that has none of these. A home that can only be read is kept: settings lie there.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"user{os.geteuid()}"
    with suppress(UserError):  # without a place for temporary files either, whoever needs one says so
        own, caches = user_folder(), cache_folder()
        # PyTorch runs what it finds in its cache, whose usual name in /tmp is anybody's to take first.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(own / "torchinductor"))
        if not os.path.isabs(os.path.expanduser("~")):
            os.environ["HOME"] = str(own)
        if caches.is_relative_to(own):
            os.environ.update(XDG_CACHE_HOME=str(caches), TRITON_HOME=str(caches))
            os.environ.setdefault("MPLCONFIGDIR", str(caches / "matplotlib"))


def temporary_base() -> Path:
    """Where temporary files go: TMPDIR, or what the system has instead.

    Raises:
        UserError: there is no such place.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UserError("there is no folder for temporary files: set TMPDIR to one that you may write") from error


@contextmanager
def fresh_folder(base: Path) -> Iterator[Path]:
    """A new folder in ``base`` with a name that nobody can guess, mode 0700, and gone after the block.

    What killed processes of this user on this machine left there is removed first.

    Raises:
        UserError: ``base`` cannot be written.
    """
    _remove_dead(base)
    with disk_errors(base):
        folder = Path(tempfile.mkdtemp(prefix=FRESH, dir=base))
    try:
        with disk_errors(folder):
            lock = open(folder / f".{LOCK}", "w", encoding="utf-8")
        with lock:
            with disk_errors(folder):
                lock.write(socket.gethostname())
                lock.flush()
                fcntl.flock(lock, fcntl.LOCK_EX)
                os.rename(folder / f".{LOCK}", folder / LOCK)  # only now, so that nobody sees it without its lock
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_dead(base: Path) -> None:
    """Remove the fresh folders of which no process of this machine holds the lock any more."""
    for folder in base.glob(f"{FRESH}*"):
        if not _is_private(folder):
            continue
        with suppress(OSError), open_own(folder / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.read() == socket.gethostname():  # a lock of another machine may be unknown to this one
                shutil.rmtree(folder, ignore_errors=True)


def _is_private(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def open_own(path: Path) -> TextIO:
    """Open a file for reading where others may have put one: no link is followed, and nothing is waited for.

    Raises:
        OSError: there is none, or it is no plain file of this user's.
    """
    file = open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8")
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        file.close()
        raise PermissionError(errno.EPERM, "not a file of this user's", str(path))
    return file


def write_private(path: Path, content: bytes) -> None:
    """Make a new file that only its user may read, from its first moment on."""
    with disk_errors(path), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)

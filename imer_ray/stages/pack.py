"""Many files as one object, which costs an object store one request: a plain tar, written and read as a stream."""

from __future__ import annotations

import io
import itertools
import shutil
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Protocol, cast

from imer_ray.stages.manifest import DamagedArtefact, is_below

BLOCK_BYTES = 1 << 20
PART_BYTES = 8 << 20  # asked for at once: larger files are read in parts, several at the same time
PARTS_AHEAD = 8


class Seekable(Protocol):
    """A remote file, as pyarrow opens it."""

    def size(self) -> int: ...
    def read_at(self, nbytes: int, offset: int) -> bytes: ...


def write(target: IO[bytes], folder: Path, names: Iterable[str], texts: Mapping[str, bytes] | None = None) -> None:
    """Pack files of a folder, after ``texts``, which are small files by name."""
    with tarfile.open(fileobj=target, mode="w|", bufsize=BLOCK_BYTES) as tar:
        for name, text in (texts or {}).items():
            tar.addfile(_header(name, len(text)), io.BytesIO(text))
        for name in names:
            with open(folder / name, "rb") as source:
                tar.addfile(_header(name, (folder / name).stat().st_size), source)


def read(source: Seekable, folder: Path) -> None:
    """Unpack into a folder, which is made.

    Raises:
        DamagedArtefact: it is not what `write` wrote. Some files may be in the folder already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(PARTS_AHEAD) as pool:
        stream = cast(IO[bytes], io.BufferedReader(_Joined(_parts(source, pool)), BLOCK_BYTES))
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES) as tar:
                for member in tar:
                    _unpack(tar, member, folder)
        except (tarfile.TarError, EOFError) as error:
            raise DamagedArtefact(f"its pack cannot be read: {error}") from error


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    source, path = tar.extractfile(member) if member.isfile() else None, folder / member.name
    if source is None or not is_below(member.name):
        raise DamagedArtefact(f"its pack holds {member.name}, which is no file of its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, open(path, "wb") as target:
        shutil.copyfileobj(source, target, BLOCK_BYTES)


def _header(name: str, size: int) -> tarfile.TarInfo:
    """Without the owner and the times that the file has here."""
    header = tarfile.TarInfo(name)
    header.size = size
    return header


def _parts(source: Seekable, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    """The content in order, the next parts fetched meanwhile."""
    offsets = iter(range(0, source.size(), PART_BYTES))

    def fetch(number: int) -> list[Future[bytes]]:
        return [pool.submit(source.read_at, PART_BYTES, offset) for offset in itertools.islice(offsets, number)]

    ahead = deque(fetch(PARTS_AHEAD))
    while ahead:
        yield ahead.popleft().result()
        ahead.extend(fetch(1))


class _Joined(io.RawIOBase):
    """Parts as one stream."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._left = parts, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._parts, b""))
        count = min(len(target), len(self._left))
        target[:count], self._left = self._left[:count], self._left[count:]
        return count

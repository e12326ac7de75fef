"""Folders on a file system without atomic rename: an object store, through pyarrow.

Written for few requests, and for a policy that allows no more than listing, reading, writing and deleting under the
root: the bucket itself is never asked for. Under such a policy S3 answers 403, not 404, where an object does not exist.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from pyarrow import fs

from imer_ray.errors import StoreFailed, UserError
from imer_ray.stages import pack
from imer_ray.stages.folders import USED, File

T = TypeVar("T")
OBJECT_STORES = ("s3", "gcs", "abfs")  # pyarrow's names of file systems that have no folders, only names
WRITABLE = ".writable"
AT_ONCE = 16  # requests for single files
DENIED = "ACCESS_DENIED"
REFUSALS = (DENIED, "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID")


class RemoteFolders:
    """Copies folders between this machine and ``root`` on ``filesystem``; names are relative to ``root``.

    Raises:
        StoreFailed: by all methods, if the store does not answer or does not do what it is asked.
        UserError: by all methods, if it refuses.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._has_folders = filesystem.type_name not in OBJECT_STORES
        self._filesystem = filesystem
        self._root = root

    def create(self) -> None:
        """Make the root, if it does not exist, and see that it can be written."""
        self.write(WRITABLE, b"")

    def names(self, folder: str) -> list[str]:
        """The files of a folder; none if there is no such folder."""
        return [self._below(f"{self._root}/{folder}", info) for info in self._infos(folder)]

    def folders(self) -> set[str]:
        """The names of the folders directly under the root."""
        infos = self._list(fs.FileSelector(self._root, allow_not_found=True))
        return {info.base_name for info in infos if info.type == fs.FileType.Directory}

    def modified(self, name: str) -> float | None:
        """When a file was written last, in seconds since 1970 on the store's clock; None if there is none."""
        info = self._if_there(name, lambda path: self._filesystem.get_file_info(path))
        return None if info is None or info.type != fs.FileType.File else (info.mtime_ns or 0) / 1e9

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if it does not exist."""

        def content(path: str) -> bytes:
            with self._filesystem.open_input_stream(path) as stream:
                return bytes(stream.readall())

        return self._if_there(name, content)

    def upload(self, folder: Path, name: str, last: str) -> bool:
        """Copy all files of a local folder: a pack of the others first, and then the file ``last``.

        The pack is named by the content of ``last``, so that two who upload at once do not mix.

        Returns:
            False if the remote folder has a file ``last`` already, which stays.
        """
        paths = (path for path in folder.rglob("*") if path.is_file())
        files = sorted(path.relative_to(folder).as_posix() for path in paths if path != folder / last)
        text = (folder / last).read_bytes()
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(self.read, f"{name}/{last}")
            if files:
                with self._errors(), self._open(f"{name}/{_pack_name(text)}") as stream:
                    pack.write(stream, folder, files)
        if there.result() is not None:
            return False
        self.write(f"{name}/{last}", text)
        return True

    def download(self, name: str, folder: Path, last: str, text: bytes) -> None:
        """Copy all files of a folder whose file ``last`` is ``text``.

        Raises:
            DamagedArtefact: their pack is not whole.
        """
        if not self.get_pack(f"{name}/{_pack_name(text)}", folder):
            with ThreadPoolExecutor(AT_ONCE) as pool:  # written singly, by an earlier version, or there are none
                list(pool.map(lambda file: self._fetch(f"{name}/{file}", folder / file), self.names(name)))
        (folder / last).write_bytes(text)

    def put_file(self, name: str, content: IO[bytes]) -> None:
        """Make or replace a file by what is read from another."""
        with self._errors(), self._open(name) as stream:
            shutil.copyfileobj(content, stream, pack.BLOCK_BYTES)

    def get_pack(self, name: str, folder: Path) -> bool:
        """Unpack into a local folder; False if there is no such pack.

        Raises:
            DamagedArtefact: it is not whole.
        """

        def unpack(path: str) -> bool:
            with self._filesystem.open_input_file(path) as source:
                pack.read(source, folder)
            return True

        return self._if_there(name, unpack) or False

    def rename(self, name: str, new: str, first: str) -> bool:
        """Move a folder file by file, the file ``first`` before the others; False if ``new`` is taken."""
        if self.names(new):
            return False
        with self._errors():
            for path in sorted(self.names(name), key=lambda path: path != first):
                self._make_folder(f"{new}/{path}")
                self._filesystem.move(f"{self._root}/{name}/{path}", f"{self._root}/{new}/{path}")
        return True

    def delete(self, name: str) -> None:
        """Delete a folder and all in it, or a file, if it exists."""
        if self._has_folders:
            with self._errors():
                info = self._filesystem.get_file_info(f"{self._root}/{name}")
                if info.type == fs.FileType.Directory:
                    self._filesystem.delete_dir(info.path)
                    return
        elif files := self.names(name):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda path: self.delete_file(f"{name}/{path}"), files))
            return
        self.delete_file(name)

    def delete_file(self, name: str) -> None:
        """Delete a file, if it exists."""
        self._if_there(name, self._filesystem.delete_file)

    def files(self) -> Iterator[File]:
        """All files under the root."""
        for info in self._infos(""):
            yield File(path=self._below(self._root, info), size=info.size, modified=(info.mtime_ns or 0) / 1e9)

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a small file."""
        with self._errors(), self._open(name) as stream:
            stream.write(content)

    def evict(self, name: str, first: str, used: float) -> bool:
        """Remove a folder, its file ``first`` before the others, unless that or its marker is newer than ``used``.

        Broken off, it leaves files without ``first``: no artefact, and nothing that could be taken for one.
        """
        times = (self.modified(f"{name}/{first}"), self.modified(f"{USED}/{name}"))
        if any(time is not None and time > used for time in times):
            return False
        if found := self.names(name):
            self.delete_file(f"{name}/{first}")  # somebody else may evict it as well
        self.delete(name)
        self.delete_file(f"{USED}/{name}")
        return bool(found)

    def _infos(self, folder: str) -> list[fs.FileInfo]:
        base = f"{self._root}/{folder}".rstrip("/")
        infos = self._list(fs.FileSelector(base, recursive=True, allow_not_found=True))
        return [info for info in infos if info.type == fs.FileType.File]

    def _list(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        with self._errors():
            return list(self._filesystem.get_file_info(selector))

    @staticmethod
    def _below(base: str, info: fs.FileInfo) -> str:
        start = len(base.strip("/")) + 1  # some file systems answer without the leading slash
        return str(info.path.strip("/")[start:])

    def _fetch(self, name: str, target: Path) -> None:
        if (content := self.read(name)) is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def _open(self, name: str) -> fs.NativeFile:
        self._make_folder(name)
        return self._filesystem.open_output_stream(f"{self._root}/{name}")

    def _make_folder(self, name: str) -> None:
        """Of a file. To ask an object store for one means asking for its bucket, which few may do."""
        if self._has_folders:
            self._filesystem.create_dir(f"{self._root}/{name}".rpartition("/")[0], recursive=True)

    def _if_there(self, name: str, act: Callable[[str], T]) -> T | None:
        """What ``act`` does with a file's path, or None if there is no such file."""
        try:
            return act(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        except OSError as error:
            if DENIED in str(error) and not self._is_listed(name):
                return None
            with self._errors():
                raise

    def _is_listed(self, name: str) -> bool:
        """Whether a file exists, for who may list but is told of no single object that it does not exist."""
        infos = self._list(fs.FileSelector(f"{self._root}/{name}".rpartition("/")[0], allow_not_found=True))
        return any(info.base_name == name.rpartition("/")[2] and info.type == fs.FileType.File for info in infos)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Tell a store that fails from a disk of this machine that does: only the latter's errors have a number."""
        try:
            yield
        except StoreFailed:
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            if any(word in str(error) for word in REFUSALS):
                raise UserError(f"cannot use {self._root} as a store of stages: {error}") from error
            raise StoreFailed(f"{self._root} does not answer as it should: {error}") from error


def prompt(filesystem: fs.FileSystem) -> fs.FileSystem:
    """The same file system, which writes what is small with one request instead of three if it is S3."""
    if not isinstance(filesystem, fs.S3FileSystem):
        return filesystem
    remake, (settings,) = filesystem.__reduce__()
    return remake({**settings, "allow_delayed_open": True})


def _pack_name(text: bytes) -> str:
    return f"files-{hashlib.sha256(text).hexdigest()[:16]}.tar"

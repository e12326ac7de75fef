"""Folders on a file system without atomic rename: an object store, through pyarrow."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs

from imer_ray.stages.folders import USED, File


class RemoteFolders:
    """Copies folders between this machine and ``root`` on ``filesystem``; names are relative to ``root``."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self._mirrored: dict[str, tuple[int, int, int]] = {}  # size, time and inode of what `mirror` has sent

    def create(self) -> None:
        """Make the root, if it does not exist."""
        self._filesystem.create_dir(self._root, recursive=True)

    def names(self, folder: str) -> list[str]:
        """The files of a folder; none if there is no such folder."""
        return self._files(folder)

    def modified(self, name: str) -> float | None:
        """When a file was written last, in seconds since 1970 on the store's clock; None if there is none."""
        info = self._filesystem.get_file_info(f"{self._root}/{name}")
        return None if info.type != fs.FileType.File else (info.mtime_ns or 0) / 1e9

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if it does not exist."""
        try:
            with self._filesystem.open_input_stream(f"{self._root}/{name}") as stream:
                return bytes(stream.readall())
        except FileNotFoundError:
            return None

    def upload(self, folder: Path, name: str, last: str) -> None:
        """Copy all files of a local folder, the file ``last`` after the others."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix() == last):
            self._put(path, f"{name}/{path.relative_to(folder).as_posix()}")

    def download(self, name: str, folder: Path) -> None:
        """Copy all files of a remote folder, if there are any."""
        for path in self._files(name):
            with self._filesystem.open_input_stream(f"{self._root}/{name}/{path}") as source:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with open(folder / path, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)

    def mirror(self, folder: Path, name: str) -> None:
        """Make a remote folder like a local one, sending only what is new since the last time."""
        there = self._files(name)
        here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        # A checkpoint's JSON file makes it exist, so it goes after the tensors that it describes.
        for path in sorted(here, key=lambda path: path.endswith(".json")):
            status = here[path].stat()
            seen = (status.st_size, status.st_mtime_ns, status.st_ino)
            if path not in there or self._mirrored.get(f"{name}/{path}") != seen:
                self._put(here[path], f"{name}/{path}")
                self._mirrored[f"{name}/{path}"] = seen
        for path in sorted(set(there) - here.keys(), key=lambda path: not path.endswith(".json")):
            self._filesystem.delete_file(f"{self._root}/{name}/{path}")

    def rename(self, name: str, new: str, first: str) -> bool:
        """Move a folder file by file, the file ``first`` before the others; False if ``new`` is taken."""
        if self._files(new):
            return False
        for path in sorted(self._files(name), key=lambda path: path != first):
            self._filesystem.create_dir(f"{self._root}/{new}/{path}".rpartition("/")[0], recursive=True)
            self._filesystem.move(f"{self._root}/{name}/{path}", f"{self._root}/{new}/{path}")
        return True

    def delete(self, name: str) -> None:
        """Delete a folder and all in it, or a file, if it exists."""
        found = self._filesystem.get_file_info(f"{self._root}/{name}").type
        if found == fs.FileType.Directory:
            self._filesystem.delete_dir(f"{self._root}/{name}")
        elif found == fs.FileType.File:
            self._filesystem.delete_file(f"{self._root}/{name}")

    def files(self) -> Iterator[File]:
        """All files under the root."""
        for info in self._infos(self._root):
            yield File(path=self._below(self._root, info), size=info.size, modified=(info.mtime_ns or 0) / 1e9)

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a small file."""
        target = f"{self._root}/{name}"
        self._filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        with self._filesystem.open_output_stream(target) as stream:
            stream.write(content)

    def evict(self, name: str, first: str, used: float) -> bool:
        """Remove a folder, its file ``first`` before the others, unless that or its marker is newer than ``used``.

        Broken off, it leaves files without ``first``: no artefact, and nothing that could be taken for one.
        """
        looked_at = [f"{self._root}/{name}/{first}", f"{self._root}/{USED}/{name}"]
        found = [info for info in self._filesystem.get_file_info(looked_at) if info.type == fs.FileType.File]
        if any((info.mtime_ns or 0) / 1e9 > used for info in found):
            return False
        others = self._files(name)
        for path in sorted(others, key=lambda path: path != first):
            with contextlib.suppress(FileNotFoundError):  # somebody else evicts it as well
                self._filesystem.delete_file(f"{self._root}/{name}/{path}")
        self.delete(name)
        self.delete(f"{USED}/{name}")
        return bool(others)

    def _files(self, name: str) -> list[str]:
        base = f"{self._root}/{name}"
        return [self._below(base, info) for info in self._infos(base)]

    def _infos(self, base: str) -> list[fs.FileInfo]:
        infos = self._filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        return [info for info in infos if info.type == fs.FileType.File]

    @staticmethod
    def _below(base: str, info: fs.FileInfo) -> str:
        start = len(base.strip("/")) + 1  # some file systems answer without the leading slash
        return str(info.path.strip("/")[start:])

    def _put(self, path: Path, name: str) -> None:
        target = f"{self._root}/{name}"
        self._filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        with open(path, "rb") as source, self._filesystem.open_output_stream(target) as stream:
            shutil.copyfileobj(source, stream, 1 << 20)

"""Folders on a file system without atomic rename: an object store, through pyarrow."""

from __future__ import annotations

import shutil
from pathlib import Path

from pyarrow import fs


class RemoteFolders:
    """Copies folders between this machine and ``root`` on ``filesystem``; names are relative to ``root``."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self._mirrored: dict[str, tuple[int, int, int]] = {}  # size, time and inode of what `mirror` has sent

    def create(self) -> None:
        """Make the root, if it does not exist."""
        self._filesystem.create_dir(self._root, recursive=True)

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
        """Delete a folder and all in it, if it exists."""
        if self._filesystem.get_file_info(f"{self._root}/{name}").type == fs.FileType.Directory:
            self._filesystem.delete_dir(f"{self._root}/{name}")

    def _files(self, name: str) -> list[str]:
        base = f"{self._root}/{name}"
        infos = self._filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        start = len(base.strip("/")) + 1  # some file systems answer without the leading slash
        return [info.path.strip("/")[start:] for info in infos if info.type == fs.FileType.File]

    def _put(self, path: Path, name: str) -> None:
        target = f"{self._root}/{name}"
        self._filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        with open(path, "rb") as source, self._filesystem.open_output_stream(target) as stream:
            shutil.copyfileobj(source, stream, 1 << 20)

"""Artefacts of finished stages: folders named by their stage's key, whole or absent, checked before use.

An artefact exists if and only if its ``artefact.json`` does. On a local file system its folder is written aside and
renamed; on an object store, which has no atomic rename, the files are written first and ``artefact.json`` last.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import math
import os
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyarrow import fs

from imer_ray.errors import UserError
from imer_ray.files import cache_folder, disk_errors, write_whole
from imer_ray.stages.artefact import Artefact, MissingArtefact, check, rename
from imer_ray.stages.copies import Copies
from imer_ray.stages.folders import USED, Folders, LocalFolders, is_alive
from imer_ray.stages.graph import Stage
from imer_ray.stages.manifest import FILE_NAME, DamagedArtefact, Manifest, describe
from imer_ray.stages.patience import insisted
from imer_ray.stages.remote import RemoteFolders, prompt
from imer_ray.stages.workspaces import Workspaces
from imer_ray.uris import refuse_secrets

_logger = logging.getLogger(__name__)

MARK_SECONDS = 86_400.0
LISTED_SECONDS = 120.0


class Store:
    """All artefacts under one root, which may be a local folder or a URI that pyarrow knows (``s3://bucket/stages``).

    Args:
        root: folder or URI.
        filesystem: a file system in which ``root`` is a path; found from ``root`` by default.
        cache: local folder for copies of remote artefacts; ``IMER_RAY_CACHE`` or ``~/.cache/imer_ray`` by default. They
            take half of its disk at most (`imer_ray.stages.copies`).
    """

    def __init__(self, root: str | Path, filesystem: fs.FileSystem | None = None, cache: Path | None = None) -> None:
        self.root = str(root)
        self.put_aside: list[str] = []  # what this process found damaged, in words
        self._marked: dict[str, float] = {}  # remote key -> when this process last said that it is used
        self._listed, self._folders, self._listing = -math.inf, set[str](), threading.Lock()
        path = self.root
        refuse_secrets("the store of stages", self.root)
        if filesystem is None and "://" in self.root:
            try:
                filesystem, path = _filesystem(self.root)
            except (ValueError, OSError) as error:
                raise UserError(f"cannot use {self.root} as a store of stages: {error}") from error
        if filesystem is None or isinstance(filesystem, fs.LocalFileSystem):
            self._remote = None
            self._local = Path(path).absolute()
        else:
            self._remote = RemoteFolders(filesystem, path.rstrip("/"))
            self._local = (cache or _cache_folder()) / hashlib.sha256(self.root.encode()).hexdigest()[:16]
        self._copies = Copies(self._local)
        self.workspaces = Workspaces(self._local, self._remote)

    @property
    def folders(self) -> Folders:
        """The root itself."""
        return self._remote or LocalFolders(self._local)

    @property
    def cache(self) -> LocalFolders | None:
        """This machine's copies of a remote root's artefacts."""
        return None if self._remote is None else LocalFolders(self._local)

    def prepare(self) -> None:
        """Make the root, so that one that cannot be written is told before any work is done.

        Raises:
            UserError: it cannot be reached or written.
        """
        try:
            if self._remote is None:
                self._local.mkdir(parents=True, exist_ok=True)
            else:
                self._remote.create()
        except OSError as error:
            raise UserError(f"cannot use {self.root} as a store of stages: {error}") from error

    def find(self, key: str) -> Manifest | None:
        """The manifest of an artefact, or None. Local files are checked now, remote ones when they are opened."""
        if self._remote is None:
            try:
                return self.open(key).manifest
            except MissingArtefact:
                return None
        try:
            if (text := self._remote.read(f"{key}/{FILE_NAME}")) is None:
                return None
            manifest = Manifest.from_json(text)
        except DamagedArtefact as damage:
            self._put_aside(key, damage)
            return None
        if time.monotonic() - self._marked.get(key, -math.inf) > MARK_SECONDS:
            self._marked[key] = time.monotonic()
            with contextlib.suppress(OSError, UserError):  # who may only read uses it all the same
                self._remote.write(f"{USED}/{key}", b"")
        return manifest

    def lacked(self, key: str) -> bool:
        """Whether an artefact was certainly not there some time in the last `LISTED_SECONDS`.

        An object store is listed once for all who ask, which is less than looking for each key. False says nothing.
        """
        if self._remote is None:
            return False
        with self._listing:
            if time.monotonic() - self._listed > LISTED_SECONDS:
                listed = time.monotonic()
                self._folders, self._listed = self._remote.folders(), listed
            return key not in self._folders

    def open(self, key: str, found: bool = False) -> Artefact:
        """An artefact, its checksums verified (once per process as long as its files do not change).

        Args:
            found: it was seen to be in the store a moment ago, so that this machine's copy is as good.

        Raises:
            MissingArtefact: it does not exist, or was damaged and has been put aside to be built anew.
        """
        folder = self._local / key
        if found and self._remote is not None:
            with contextlib.suppress(DamagedArtefact, MissingArtefact, FileNotFoundError):
                _touch(folder)
                return check(key, folder)
        with contextlib.suppress(DamagedArtefact, FileNotFoundError):
            return self._look(key, folder)
        try:  # damaged, or evicted at this moment: a second look finds none then
            return self._look(key, folder)
        except FileNotFoundError as error:
            raise MissingArtefact(f"{key} in {self.root} is being evicted") from error
        except DamagedArtefact as damage:
            self._put_aside(key, damage)
            raise MissingArtefact(f"{key} in {self.root} was damaged: {damage}") from damage

    def _look(self, key: str, folder: Path) -> Artefact:
        _touch(folder)
        if self._remote is None:
            return check(key, folder)
        if (text := self._remote.read(f"{key}/{FILE_NAME}")) is None:
            raise MissingArtefact(f"{key} is not in {self.root}")
        with contextlib.suppress(DamagedArtefact, MissingArtefact, FileNotFoundError):
            if text == (folder / FILE_NAME).read_bytes():
                return check(key, folder)
        with disk_errors(folder), self._aside(key) as aside:
            self._remote.download(key, aside, FILE_NAME, text)
            check(key, aside)
            return self._keep_copy(key, aside)

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A local folder in which a stage writes its files; gone afterwards unless `commit` has taken it."""
        with disk_errors(self._local), self._aside(key) as folder:
            yield folder

    def commit(
        self,
        stage: Stage,
        folder: Path,
        metrics: Mapping[str, float],
        seconds: float,
        num_workers: int = 1,
        with_gpu: bool = False,
    ) -> Artefact:
        """Make the files in ``folder`` the artefact of ``stage``; if another process was faster, take its artefact.

        What was computed is not thrown away because a remote store fails for a while: see `insisted`.
        """
        key, target = stage.key, self._local / stage.key
        with disk_errors(f"{self.root}/{key}"):
            manifest = describe(stage, folder, metrics, seconds, num_workers, with_gpu)
            write_whole(folder / FILE_NAME, manifest.to_json())
            if self._remote is not None:
                is_first = insisted(functools.partial(self._remote.upload, folder, key, FILE_NAME))
                artefact = self._keep_copy(key, folder) if is_first else None
                self.workspaces.drop_later(key)
                return artefact or self.open(key)
            if not rename(folder, target) and self.find(key) is None:
                rename(folder, target)  # what stood there was damaged and is out of the way now
        self.workspaces.drop(key)
        return self.open(key)

    def _keep_copy(self, key: str, folder: Path) -> Artefact:
        """Make a folder the local copy of a remote artefact, unless another process has just done so."""
        self._copies.bound()
        target = self._local / key
        if not rename(folder, target):
            with contextlib.suppress(DamagedArtefact, FileNotFoundError):
                if (target / FILE_NAME).read_bytes() == (folder / FILE_NAME).read_bytes():
                    return check(key, target)
            shutil.rmtree(target, ignore_errors=True)
            rename(folder, target)
        return check(key, target)

    def _put_aside(self, key: str, damage: DamagedArtefact) -> None:
        number = 1
        if self._remote is None:
            with contextlib.suppress(FileNotFoundError):  # another process put it aside
                while not rename(self._local / key, self._local / f"{key}.damaged-{number}"):
                    number += 1
        else:
            while not self._remote.rename(key, f"{key}.damaged-{number}", first=FILE_NAME):
                number += 1
        message = "artefact %s in %s is damaged (%s): moved to %s.damaged-%d, it will be built anew"
        _logger.warning(message, key, self.root, damage, key, number)
        self.put_aside.append(message % (key, self.root, damage, key, number))

    @contextlib.contextmanager
    def _aside(self, key: str) -> Iterator[Path]:
        """A new folder beside the artefacts; what killed processes of this host left of the same key is removed."""
        self._local.mkdir(parents=True, exist_ok=True)
        prefix = f".tmp-{key}-{socket.gethostname()}-"
        for old in self._local.glob(f"{prefix}*"):
            match = re.fullmatch(r"(\d+)-\w+", old.name.removeprefix(prefix))
            if match and not is_alive(int(match[1])):
                shutil.rmtree(old, ignore_errors=True)
        folder = self._local / f"{prefix}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """Once per process: each new one would make its connections anew."""
    filesystem, path = fs.FileSystem.from_uri(uri)
    return prompt(filesystem), path


def _touch(folder: Path) -> None:
    """Note an artefact's last use, for those who choose what to evict."""
    with contextlib.suppress(OSError):
        os.utime(folder / FILE_NAME)


def _cache_folder() -> Path:
    return Path(os.environ.get("IMER_RAY_CACHE") or cache_folder() / "imer_ray")

"""Where running stages keep their checkpoints: folders on this machine, which a remote store of stages follows."""

from __future__ import annotations

import functools
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from imer_ray.errors import StoreFailed
from imer_ray.files import disk_errors
from imer_ray.stages.folders import WORK
from imer_ray.stages.mirror import Mirror
from imer_ray.stages.patience import HELD_SECONDS
from imer_ray.stages.remote import RemoteFolders


class Workspaces:
    """The folders ``.work/<key>`` of a store; a checkpoint in one outlives a killed worker and goes on commit.

    A checkpoint insures a computation that is in no need of it. While the store fails a stage therefore goes on, for up
    to `HELD_SECONDS`, and sends with the next checkpoint what did not arrive.

    Args:
        local: the store's folder on this machine.
        remote: the store, unless it is that folder.
    """

    def __init__(self, local: Path, remote: RemoteFolders | None) -> None:
        self._local, self._remote = local / WORK, remote
        self._mirrors: dict[str, Mirror] = {}
        self._sending: dict[str, Future[None]] = {}
        self._dropping: dict[str, Future[None]] = {}
        self._failing: dict[str, float] = {}  # since when nothing has arrived

    @property
    def location(self) -> str:
        """A folder for what Ray Train notes of a worker group. No other node needs it, since groups are resumed from
        our checkpoints, and Ray Train would ask an object store for its bucket."""
        return str(self._local)

    def lacks(self, key: str) -> bool:
        """Whether a remote root has no checkpoint of a stage; False, too, if the root is local."""
        return self._remote is not None and not self._remote.names(_name(key))

    def folder(self, key: str, scratch: Path | None = None, anew: bool = False) -> Path:
        """The checkpoint folder of a running stage, as it was last sent.

        Args:
            key: of the stage.
            scratch: where a process that only reads the checkpoint copies a remote one to.
            anew: a remote root is known to have none.
        """
        self._sending.pop(key, None)  # of another run
        self._failing.pop(key, None)
        folder = self._here(key)
        if self._remote is not None and scratch is not None:
            folder = scratch
        with disk_errors(folder):
            if self._remote is not None:
                if (dropping := self._dropping.pop(key, None)) is not None:
                    dropping.result()
                self._mirror(key).restore(folder, anew)  # another node may have come further
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def send(self, key: str) -> None:
        """Begin to copy what is new in the checkpoint folder to a remote root, after what was begun before; on a
        local one it is there already.

        Raises:
            StoreFailed: nothing has arrived for `HELD_SECONDS`.
        """
        if self._remote is None:
            return
        try:
            self._wait(key)
        except StoreFailed:
            if time.monotonic() - self._failing[key] > HELD_SECONDS:
                raise
        if (send := self._mirror(key).packed(self._here(key))) is not None:
            self._sending[key] = self._background.submit(send)

    def flush(self, key: str) -> None:
        """Wait until what `send` has begun is done; what did not arrive is sent once more.

        Raises:
            StoreFailed: it did not arrive then, either.
        """
        try:
            self._wait(key)
        except StoreFailed:
            self.send(key)
            self._wait(key)

    def drop(self, key: str) -> None:
        """Delete what a stage, or whoever ran it, left behind for itself."""
        shutil.rmtree(self._local / key, ignore_errors=True)
        if self._remote is not None and not ((mirror := self._mirrors.pop(key, None)) and mirror.is_empty):
            self._remote.delete(f"{WORK}/{key}")

    def drop_later(self, key: str) -> None:
        """The same, after what was begun and in the background."""
        self._dropping[key] = self._background.submit(self.drop, key)

    def _wait(self, key: str) -> None:
        if (sending := self._sending.pop(key, None)) is None:
            return
        try:
            sending.result()
        except StoreFailed:
            self._failing.setdefault(key, time.monotonic())
            self._mirror(key).lost()
            raise
        self._failing.pop(key, None)

    def _here(self, key: str) -> Path:
        return self._local / key / "checkpoint"

    def _mirror(self, key: str) -> Mirror:
        assert self._remote is not None
        return self._mirrors.setdefault(key, Mirror(self._remote, _name(key)))

    @functools.cached_property
    def _background(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)


def _name(key: str) -> str:
    return f"{WORK}/{key}/checkpoint"

"""One driver computes a stage, and the others that share its store wait: a claim says who.

A claim is an empty file ``.claims/<key>-<lease>.json``, as good as the lease (`imer_ray.stages.lease`) that it names.
Object stores offer no lock, but their listings are consistent: whoever writes a claim and then sees no other has the
stage, for of two that do so at once the later listing shows both. A lease that is gone, whose process on this machine
is dead, or that is not renewed for `SILENT_SECONDS` no longer counts. Should two drivers compute a stage all the same
(one was stopped for minutes, say), that costs time and nothing else: `imer_ray.stages.store.Store.commit` takes the
first result.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from imer_ray.stages.folders import CLAIMS, Folders, is_alive
from imer_ray.stages.lease import FOLDER, Lease

_logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between two looks at a stage that another driver computes
SILENT_SECONDS = 120.0  # NFS may show a renewal a minute late
TRIES, TRY_SECONDS = 5, 0.2  # so often and far apart the first of several that claim at once looks for the others


@dataclass
class _Watched:
    """What is known of another driver's lease; ``silent`` is the number of looks since it was last renewed."""

    lease: Lease | None = None
    modified: float | None = None
    looked: float = float("-inf")
    silent: int = 0


class Claims:
    """A driver's claims.

    Args:
        folders: the store's.
        lease: the driver's; whoever has this object sees to it that it is renewed.
        look_seconds: between two looks of those who wait.
    """

    def __init__(self, folders: Folders, lease: Lease, look_seconds: float = LOOK_SECONDS) -> None:
        self.look_seconds = look_seconds
        self._folders, self._own = folders, lease
        self._num_looks = SILENT_SECONDS / LOOK_SECONDS
        self._leases: dict[str, _Watched] = {}
        self._looking, self._listing = threading.Lock(), threading.Lock()
        self._names, self._listed = list[str](), float("-inf")

    def take(self, key: str) -> Lease | None:
        """Claim a stage; None if it is ours now, else the lease of whoever has it."""
        own = self._path(key, self._own.name)
        self._folders.write(own, b"")
        for _ in range(TRIES):
            if not (others := self._counting(key, self._folders.names(CLAIMS))):
                return None
            if self._own.name > min(others):
                break
            time.sleep(TRY_SECONDS * (0.5 + random.random()))  # the others withdraw, unless one has it already
        self._folders.delete_file(own)
        self._listed = float("-inf")
        return others[min(others)]

    def holder(self, key: str) -> Lease | None:
        """Whoever else has a stage, or had a moment ago."""
        with self._listing:
            if time.monotonic() - self._listed >= self.look_seconds / 2:
                self._names, self._listed = self._folders.names(CLAIMS), time.monotonic()
            names = self._names
        others = self._counting(key, names)
        return others[min(others)] if others else None

    def release(self, key: str) -> None:
        try:
            self._folders.delete_file(self._path(key, self._own.name))
        except OSError as error:  # others see the result, or wait until this driver ends
            _logger.warning("the claim of a stage could not be taken back: %s", error)

    def _path(self, key: str, lease: str) -> str:
        return f"{CLAIMS}/{key}-{lease}.json"

    def _counting(self, key: str, names: Collection[str]) -> dict[str, Lease]:
        """Of all claims, name -> lease of the others' on a stage that count."""
        found = {}
        for name in names:
            if not name.startswith(f"{key}-") or (lease := lease_of(name)) == self._own.name:
                continue
            if (alive := self._look(lease)) is None:
                self._folders.delete_file(f"{CLAIMS}/{name}")
            else:
                found[lease] = alive
        return found

    def _look(self, name: str) -> Lease | None:
        """The lease of this name if it counts. Silence is counted in looks, which a stopped process does not take."""
        with self._looking:
            seen = self._leases.setdefault(name, _Watched())
            now = time.monotonic()
            if now - seen.looked >= self.look_seconds / 2:
                modified = self._folders.modified(path := f"{FOLDER}/{name}.json")
                if modified is not None and seen.lease is None:
                    seen.lease = Lease.from_json(self._folders.read(path) or b"")
                seen.silent = seen.silent + 1 if modified == seen.modified else 0
                seen.looked, seen.modified = now, modified
            if seen.modified is None or seen.lease is None or seen.silent > self._num_looks:
                return None
            dead_here = seen.lease.host == self._own.host and not is_alive(seen.lease.pid)
            return None if dead_here else seen.lease


def lease_of(name: str) -> str:
    """The lease that a claim's file name says."""
    return name.removesuffix(".json").partition("-")[2]

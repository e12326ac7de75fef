"""Who works with a store: a driver's lease keeps all that was used since it began from being evicted.

A lease is a small file ``.leases/<name>.json`` that is written again every 20 s. It counts as long as it is younger
than ten minutes, so that of a killed driver ends by itself, on whatever machine it ran. Whoever waits for a stage that
its driver computes is less patient, see `imer_ray.stages.claim`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from imer_ray.stages.folders import File, Folders

_logger = logging.getLogger(__name__)

FOLDER = ".leases"
RENEW_SECONDS = 20.0
LEASE_SECONDS = 600.0
CLOCK_SECONDS = 60.0  # by so much may the clocks of drivers, file server and whoever evicts differ


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A driver's claim. It can be sent to another process, which then renews it.

    Attributes:
        started: seconds since 1970, on the driver's clock.
    """

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=time.time)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def from_json(cls, text: bytes) -> Lease | None:
        """What `renew` wrote; None if it is damaged."""
        try:
            lease = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        kinds = {"host": str, "pid": int, "started": float, "name": str}
        return lease if all(type(getattr(lease, name)) is kind for name, kind in kinds.items()) else None

    def renew(self, folders: Folders) -> None:
        """Write the lease, or write it again."""
        folders.write(f"{FOLDER}/{self.name}.json", json.dumps(asdict(self)).encode())

    def keep(self, folders: Folders, seconds: float = RENEW_SECONDS) -> None:
        """Renew the lease now and from now on, in a thread that ends with the process."""

        self._try(folders)

        def renew() -> None:
            while True:
                time.sleep(seconds)
                self._try(folders)

        threading.Thread(target=renew, daemon=True).start()

    def _try(self, folders: Folders) -> None:
        try:
            self.renew(folders)
        except Exception as error:  # what cannot be renewed now may be the next time
            _logger.warning("the lease of the stages could not be renewed: %s", error)

    def end(self, folders: Folders) -> None:
        folders.delete_file(f"{FOLDER}/{self.name}.json")


def live(folders: Folders, files: Iterable[File], now: float) -> list[Lease]:
    """The leases among a root's files that count."""
    recent = [f.path for f in files if f.path.startswith(f"{FOLDER}/") and f.modified > now - LEASE_SECONDS]
    texts = [folders.read(path) for path in recent if path.endswith(".json")]
    found = [Lease.from_json(text) for text in texts if text is not None]
    return [lease for lease in found if lease is not None]

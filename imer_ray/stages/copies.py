"""This machine's copies of a remote store's artefacts, kept within a share of its disk."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from imer_ray.errors import UserError
from imer_ray.stages.folders import LocalFolders
from imer_ray.stages.inventory import take
from imer_ray.stages.manifest import FILE_NAME

MOST = 0.5  # of the bytes that copies take or that are free
IN_USE_SECONDS = 3600.0  # what was opened since is not taken from a stage that may still read it
LOOK_SECONDS = 600.0  # between two looks of a process


_next_look: dict[Path, float] = {}  # of this process, whose stores come and go with its stages


class Copies:
    """The copies under a folder, each with its last use as the time of its ``artefact.json``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bound(self) -> None:
        """Let the least recently used go where copies take more than their share; looks now and then only."""
        if (now := time.monotonic()) >= _next_look.get(self._folder, now):
            _next_look[self._folder] = now + LOOK_SECONDS
            self.trim(time.time())

    def trim(self, now: float) -> int:
        """As `bound`, at once. Returns how many were let go. They are downloaded again when they are wanted."""
        folders = LocalFolders(self._folder)
        try:
            entries = take(folders, now).entries
            free = shutil.disk_usage(self._folder).free
        except (OSError, UserError):  # whoever writes there says so
            return 0
        taken = sum(entry.size for entry in entries)
        most, num_gone = MOST * (taken + free), 0
        for entry in sorted(entries, key=lambda entry: entry.used):
            if taken <= most or entry.used > now - IN_USE_SECONDS:
                break
            if folders.evict(entry.key, FILE_NAME, entry.used):
                taken, num_gone = taken - entry.size, num_gone + 1
        return num_gone

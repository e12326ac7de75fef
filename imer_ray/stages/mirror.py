"""A folder that an object store follows: what is new of a checkpoint goes there in one request an epoch.

Two packs are written by turns. Each holds what is not in the other, so that together they always have all files, and
one that was broken off leaves what the folder was before.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from imer_ray.stages import pack
from imer_ray.stages.manifest import DamagedArtefact, is_below

SLOTS = ("0.tar", "1.tar")
INDEX = ".index.json"  # in each pack: its number, and the names of all files that the folder had then

_logger = logging.getLogger(__name__)
Signature = tuple[int, int, int]


class Packs(Protocol):
    """What a mirror needs of a store."""

    def names(self, folder: str) -> list[str]: ...
    def put_file(self, name: str, content: IO[bytes]) -> None: ...
    def get_pack(self, name: str, folder: Path) -> bool: ...


class Mirror:
    """The remote folder ``name``; used by one thread at a time."""

    def __init__(self, packs: Packs, name: str) -> None:
        self._packs, self._name = packs, name
        self._number, self._slot = 0, 1  # of the newest pack
        self._sent: dict[str, tuple[Signature, int]] = {}  # file -> what it was when it was sent, and in which slot
        self._before = self._slot, self._sent  # the newest pack
        self.is_empty = False  # whether the remote folder is known to have nothing

    def restore(self, folder: Path, anew: bool = False) -> None:
        """Make ``folder`` what was last sent; empty if nothing was, or if that is known (``anew``)."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        slots = [] if anew else [slot for slot in self._packs.names(self._name) if slot in SLOTS]
        self.is_empty, self._sent = not slots, {}
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            found = sorted(filter(None, (self._index(slot, Path(name)) for slot in slots)), reverse=True)
            if not found:
                return
            self._number, slot, files = found[0]
            self._slot = SLOTS.index(slot)
            for file in files:
                held = [path for _, slot, _ in found if (path := Path(name) / slot / file).is_file()]
                if held:
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                    held[0].rename(folder / file)

    def packed(self, folder: Path) -> Callable[[], None] | None:
        """Pack what is new in ``folder``, which may change from now on; what then sends it, or None if nothing is."""
        here = {path.relative_to(folder).as_posix(): _signature(path) for path in folder.rglob("*") if path.is_file()}
        if {name: sent for name, (sent, _) in self._sent.items()} == here:
            return None
        number, slot = max(time.time_ns(), self._number + 1), 1 - self._slot
        new = [name for name, signature in here.items() if self._sent.get(name) != (signature, self._slot)]
        index = json.dumps({"number": number, "files": sorted(here)}).encode()
        content = tempfile.TemporaryFile(dir=folder.parent)  # noqa: SIM115, closed by who sends it
        pack.write(content, folder, new, {INDEX: index})
        self._before = self._slot, self._sent
        kept = {name: sent for name, sent in self._sent.items() if name in here and name not in new}
        self._sent = {**kept, **{name: (here[name], slot) for name in new}}
        self._number, self._slot, self.is_empty = number, slot, False

        def send() -> None:
            with content:
                content.seek(0)
                self._packs.put_file(f"{self._name}/{SLOTS[slot]}", content)

        return send

    def lost(self) -> None:
        """The newest pack did not arrive, or nobody knows: the next one takes its place and has what is new in both."""
        self._slot, self._sent = self._before

    def _index(self, slot: str, below: Path) -> tuple[int, str, list[str]] | None:
        """Fetch a pack; its number, slot and list of files."""
        try:
            if self._packs.get_pack(f"{self._name}/{slot}", below / slot):
                found = json.loads((below / slot / INDEX).read_bytes())
                if not all(map(is_below, found["files"])):
                    raise DamagedArtefact("it names a file outside its folder")
                return int(found["number"]), slot, found["files"]
        except (DamagedArtefact, FileNotFoundError, ValueError, KeyError, TypeError) as error:
            _logger.warning("the checkpoint %s/%s is damaged (%s) and left out", self._name, slot, error)
        return None


def _signature(path: Path) -> Signature:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino

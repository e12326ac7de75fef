"""What lies under a store's root: artefacts, with size, cost and last use, and what killed processes left behind."""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from imer_ray.stages import lease
from imer_ray.stages.claim import lease_of
from imer_ray.stages.folders import CLAIMS, USED, WORK, File, Folders, is_alive
from imer_ray.stages.manifest import FILE_NAME, DamagedArtefact, Manifest

READERS = 16  # manifests read at once: an object store takes tens of milliseconds for each
DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An artefact, or (kind "damaged") what was put aside as one that is not what its manifest says.

    Attributes:
        key: the folder's name.
        name: the stage's, for example ``pretrain[l]``.
        size: bytes of all its files.
        seconds: computing time it cost.
        made, used: when it was finished, and when it was last asked for, in seconds since 1970.
    """

    key: str
    name: str
    size: int
    seconds: float
    made: float
    used: float

    @property
    def kind(self) -> str:
        return self.name.partition("[")[0]


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """Files that are no artefact: a checkpoint, a folder of a process that died, an upload or eviction broken off.

    Attributes:
        wanted: False if nobody can want it any more, True if a process of this machine holds it, None if unknown.
    """

    path: str
    size: int
    modified: float
    wanted: bool | None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    entries: tuple[Entry, ...]
    left_over: tuple[LeftOver, ...]
    leases: tuple[lease.Lease, ...]


def take(folders: Folders, now: float) -> Inventory:
    """List a root. Reads the names of all files and the manifest of every artefact, nothing else."""
    below: dict[str, list[File]] = defaultdict(list)
    marks: dict[str, float] = {}
    ended: list[LeftOver] = []
    claims: list[File] = []
    files = list(folders.files())
    for file in files:
        top, _, rest = file.path.partition("/")
        if top == USED:
            marks[rest] = file.modified
        elif top == WORK:
            below[f"{WORK}/{rest.partition('/')[0]}"].append(file)
        elif top == CLAIMS:
            claims.append(file)
        elif top == lease.FOLDER:
            if file.modified <= now - lease.LEASE_SECONDS:
                ended.append(LeftOver(path=file.path, size=file.size, modified=file.modified, wanted=False))
        elif rest:
            below[top].append(file)
    whole = [name for name in below if not name.startswith(".") and _manifest_file(name, below)]
    with ThreadPoolExecutor(READERS) as pool:
        read = dict(zip(whole, pool.map(lambda name: _read(folders, name), whole), strict=True))
    entries = [_entry(name, below[name], manifest, marks.get(name, 0.0)) for name, manifest in read.items()]
    leases = lease.live(folders, files, now)
    held = {one.name for one in leases}
    for file in claims:
        if lease_of(file.path) not in held:
            ended.append(LeftOver(path=file.path, size=file.size, modified=file.modified, wanted=False))
    return Inventory(
        entries=tuple(entries),
        left_over=(*ended, *(_left_over(name, found, read) for name, found in below.items() if name not in read)),
        leases=tuple(leases),
    )


def _manifest_file(name: str, below: Mapping[str, list[File]]) -> bool:
    return any(file.path == f"{name}/{FILE_NAME}" for file in below[name])


def _read(folders: Folders, name: str) -> Manifest | None:
    try:
        text = folders.read(f"{name}/{FILE_NAME}")
        return None if text is None else Manifest.from_json(text)
    except DamagedArtefact:
        return None


def _entry(name: str, files: list[File], manifest: Manifest | None, mark: float) -> Entry:
    touched = next(file.modified for file in files if file.path == f"{name}/{FILE_NAME}")
    size = sum(file.size for file in files)
    if manifest is None or manifest.key != name:
        return Entry(key=name, name=DAMAGED, size=size, seconds=0.0, made=touched, used=touched)
    return Entry(
        key=name,
        name=manifest.name,
        size=size,
        seconds=manifest.seconds,
        made=datetime.fromisoformat(manifest.finished).timestamp(),
        used=max(touched, mark),
    )


def _left_over(name: str, files: list[File], artefacts: Mapping[str, object]) -> LeftOver:
    owner = re.fullmatch(rf"\.tmp-.+-{re.escape(socket.gethostname())}-(\d+)-\w+", name)
    wanted = None if owner is None else is_alive(int(owner[1]))
    if name.removeprefix(f"{WORK}/") in artefacts:
        wanted = False  # a checkpoint that its stage needs no more
    return LeftOver(
        path=name, size=sum(file.size for file in files), modified=max(f.modified for f in files), wanted=wanted
    )

"""What ``artefact.json`` says: which stage made an artefact, from what, its files' checksums, its metrics and cost."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import platform
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from imer_ray.errors import UserError
from imer_ray.files import sha256
from imer_ray.stages.graph import Stage
from imer_ray.stages.machine import hardware

FORMAT = 1
FILE_NAME = "artefact.json"


class DamagedArtefact(Exception):
    """An artefact that is not what its manifest says."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``artefact.json``.

    Attributes:
        stage: name, function, version, config, data and inputs (role -> key) of the stage.
        files: path within the folder (with /) -> size and SHA-256.
        metrics: what the stage's function returned; not-a-number and infinities survive.
        seconds: computing time of the run that finished it.
        finished: UTC, ISO 8601.
        num_workers: of the group that finished it; 1: a task of its own. Not known of older ones.
        hardware: that it was computed on, in words. Not known of older ones.
    """

    key: str
    stage: Mapping[str, Any]
    files: Mapping[str, FileRecord]
    metrics: Mapping[str, float]
    seconds: float
    host: str
    versions: Mapping[str, str]
    finished: str
    num_workers: int = 1
    hardware: str = ""

    @property
    def name(self) -> str:
        return str(self.stage["name"])

    def to_json(self) -> bytes:
        body = {"format": FORMAT, **asdict(self), "metrics": {k: _encode(v) for k, v in self.metrics.items()}}
        return json.dumps({"sha256": _digest(body), **body}, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read ``artefact.json``.

        Raises:
            DamagedArtefact: it is not whole, or not what was written.
            UserError: a later imer_ray wrote it.
        """
        try:
            body = json.loads(text)
            if body["format"] > FORMAT:
                raise UserError(f"{FILE_NAME} has format {body['format']}, this imer_ray reads up to {FORMAT}")
            if body.pop("sha256") != _digest(body):
                raise DamagedArtefact(f"{FILE_NAME} has a wrong checksum")
            del body["format"]
            body["metrics"] = {k: float(v) for k, v in body["metrics"].items()}
            body["files"] = {path: FileRecord(**record) for path, record in body["files"].items()}
            if not all(map(is_below, body["files"])):
                raise DamagedArtefact(f"{FILE_NAME} names a file outside its folder")
            return cls(**body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedArtefact(f"{FILE_NAME} cannot be read: {error}") from error


def is_below(name: str) -> bool:
    """Whether a file's name, with /, says that it lies in the folder that it is of."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def describe(
    stage: Stage, folder: Path, metrics: Mapping[str, float], seconds: float, num_workers: int, with_gpu: bool
) -> Manifest:
    """The manifest of a stage that was finished on this machine, whose files lie in ``folder``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        key=stage.key,
        stage={
            "name": stage.name,
            "function": stage.function,
            "version": stage.version,
            "config": dict(stage.config),
            "data": stage.data,
            "inputs": {role: source.key for role, source in sorted(stage.inputs.items())},
        },
        files={
            path.relative_to(folder).as_posix(): FileRecord(size=path.stat().st_size, sha256=sha256(path))
            for path in paths
        },
        metrics={name: float(value) for name, value in metrics.items()},
        seconds=seconds,
        host=socket.gethostname(),
        versions=dict(_versions()),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        num_workers=num_workers,
        hardware=hardware(with_gpu),
    )


def check_files(manifest: Manifest, folder: Path) -> None:
    """Raise DamagedArtefact unless each file in ``folder`` has the size and checksum that the manifest says."""
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise DamagedArtefact(f"{name} is missing")
        if path.stat().st_size != record.size:
            raise DamagedArtefact(f"{name} has {path.stat().st_size} bytes instead of {record.size}")
        if sha256(path) != record.sha256:
            raise DamagedArtefact(f"{name} has a wrong checksum")


def _encode(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no NaN; float() reads "nan" and "inf" back


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for package in ("imer_ray", "torch", "numpy"):
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:  # a plain checkout on the path
            continue
    return tuple(found)

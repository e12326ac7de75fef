"""Checkpoints of a running stage: safetensors + JSON, whole or not at all, the one before kept as a fallback.

All tensors of one type lie in a row as one, and the JSON says how: hundreds of small ones would take ten times as long.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from imer_ray.devices import fetched
from imer_ray.files import write_whole

_NAME = re.compile(r"checkpoint-(\d+)\.json")
_logger = logging.getLogger(__name__)


def save(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the next checkpoint into ``folder`` and drop all but the one before it.

    The JSON file comes last and carries the checksums, so a checkpoint without it does not exist.

    Args:
        tensors: name -> tensor on the CPU; tensors that share memory are written out each.
        state: JSON values; infinities are kept as Python's JSON writes them.
    """
    number = max(_numbers(folder), default=0) + 1
    flat, layout = _flattened(tensors)
    content = save_tensors(flat)
    body = {"tensors_sha256": hashlib.sha256(content).hexdigest(), "layout": layout, "state": dict(state)}
    write_whole(folder / f"checkpoint-{number}.safetensors", content)
    write_whole(folder / f"checkpoint-{number}.json", json.dumps({"sha256": _digest(body), **body}).encode())
    for old in folder.glob("checkpoint-*"):
        if old.stem not in (f"checkpoint-{number}", f"checkpoint-{number - 1}"):
            old.unlink(missing_ok=True)


class Writer:
    """Writes one checkpoint after another in a thread of its own, which is mostly waiting for the disk.

    A context: what is begun in the block is there after it. Where the block failed, its error is the one to tell.

    Args:
        written: called in that thread when a checkpoint is there.
    """

    def __init__(self, folder: Path, written: Callable[[], None]) -> None:
        self._folder, self._written = folder, written
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._pool, nullcontext() if kind is None else suppress(Exception):
            self.wait()

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Begin to write these tensors, of any device, as they are now, when the checkpoint before is there.

        Raises:
            UserError, OSError: that could not be written or, if it goes elsewhere, not be sent.
        """
        kept = fetched(tensors)
        self.wait()
        self._writing = self._pool.submit(self._write, kept, state)

    def wait(self) -> None:
        """Until what was begun is there; raises as `save`."""
        if (writing := self._writing) is not None:
            self._writing = None
            writing.result()

    def _write(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        save(self._folder, tensors, state)
        self._written()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest undamaged checkpoint in ``folder`` as (tensors on the CPU, state); None if there is none."""
    for number in sorted(_numbers(folder), reverse=True):
        try:
            return _read(folder, number)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            _logger.warning("checkpoint %d in %s is damaged (%r); using the one before", number, folder, error)
            (folder / f"checkpoint-{number}.json").unlink(missing_ok=True)  # or it would count as the one to keep
    return None


def _read(folder: Path, number: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    body = json.loads((folder / f"checkpoint-{number}.json").read_bytes())
    content = (folder / f"checkpoint-{number}.safetensors").read_bytes()
    if body.pop("sha256") != _digest(body) or body["tensors_sha256"] != hashlib.sha256(content).hexdigest():
        raise ValueError("wrong checksum")
    return _unflattened(load_tensors(content), body["layout"]), body["state"]


def _flattened(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[tuple[str, list[int]]]]]:
    """The tensors of each type in a row, and the names and shapes of what lies there."""
    kinds: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        kinds.setdefault(str(tensor.dtype), []).append(name)
    flat = {kind: torch.cat([tensors[name].reshape(-1) for name in names]) for kind, names in kinds.items()}
    return flat, {kind: [(name, list(tensors[name].shape)) for name in names] for kind, names in kinds.items()}


def _unflattened(flat: Mapping[str, Tensor], layout: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors = {}
    for kind, entries in layout.items():
        parts = flat[kind].split([math.prod(shape) for _, shape in entries])
        for (name, shape), part in zip(entries, parts, strict=True):
            tensors[name] = part.reshape(shape).clone()
    return tensors


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return [int(match[1]) for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name))]


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's state on the CPU, for safetensors."""
    return fetched(module.state_dict())

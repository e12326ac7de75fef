"""Checkpoints of a running stage: safetensors + JSON, whole or not at all, the one before kept as a fallback."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        tensors: name -> tensor of any device; tensors that share memory are written out each.
        state: JSON values; infinities are kept as Python's JSON writes them.
    """
    number = max(_numbers(folder), default=0) + 1
    content = save_tensors(fetched(tensors))
    body = {"tensors_sha256": hashlib.sha256(content).hexdigest(), "state": dict(state)}
    write_whole(folder / f"checkpoint-{number}.safetensors", content)
    write_whole(folder / f"checkpoint-{number}.json", json.dumps({"sha256": _digest(body), **body}).encode())
    for old in folder.glob("checkpoint-*"):
        if old.stem not in (f"checkpoint-{number}", f"checkpoint-{number - 1}"):
            old.unlink(missing_ok=True)


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
    return load_tensors(content), body["state"]


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return [int(match[1]) for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name))]


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's state on the CPU, for safetensors."""
    return fetched(module.state_dict())

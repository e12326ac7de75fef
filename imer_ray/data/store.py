"""Data set `store`: what `python -m imer_ray.convert` wrote, memory-mapped.

A store is a folder with ``dataset.json`` (shapes, counts, checksums, statistics of the training clips) and one Arrow
file per split, whose record batches hold up to `CHUNK` clips: the columns ``label``, maybe ``id``, and for each
modality m ``m`` (a fixed-size list of L x D floats) with ``m_start`` and ``m_stop`` (recorded: start <= frame < stop).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.data.dataset import SPLITS, Dataset, Split, settings_fingerprint
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.files import sha256

MANIFEST = "dataset.json"
VERSION = 1
SPLIT_KEYS = ("num_clips", "num_bytes", "sha256")
CHUNK = 128  # clips of a record batch


@dataclass(frozen=True)
class Store:
    """A converted data set; ``path`` is its folder."""

    path: str | None = None

    def fingerprint(self) -> str:
        """A hash of the files' checksums and the statistics; reads every file once to check that it is whole."""
        manifest = self._manifest()
        for name in SPLITS:
            file = self._file(manifest, name)
            if sha256(file) != manifest["splits"][name]["sha256"]:
                raise UserError(f"{file} is damaged: its checksum is wrong; convert the data again")
        return _fingerprint(manifest)

    def load(self) -> Dataset:
        manifest = self._manifest()
        try:
            dims, lengths = ({m: int(manifest[key][m]) for m in MODALITIES} for key in ("dims", "lengths"))
            statistics = {m: _statistics(manifest["statistics"][m], dims[m]) for m in MODALITIES}
            splits = {}
            for name in SPLITS:
                file = self._file(manifest, name)
                splits[name] = _open_split(file, manifest["splits"][name]["num_clips"], dims, lengths, statistics)
            return Dataset(dims, lengths, manifest["label_kind"], _fingerprint(manifest), splits)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.path}: {MANIFEST} is damaged ({error!r}); convert the data again") from error

    def _manifest(self) -> dict[str, Any]:
        if self.path is None:
            raise UserError("data=store needs the folder that imer_ray.convert wrote: data.path=data/mosi")
        path = Path(self.path) / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version = manifest["version"]
            complete = all(key in manifest["splits"][name] for name in SPLITS for key in SPLIT_KEYS)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(f"data.path={self.path}: no {MANIFEST} there; make one with imer_ray.convert") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged; convert the data again") from error
        if version != VERSION:
            raise UserError(f"{path} has version {version}, this imer_ray reads {VERSION}; convert the data again")
        if not complete or "statistics" not in manifest:
            raise UserError(f"{path} is damaged; convert the data again")
        return manifest

    def _file(self, manifest: Mapping[str, Any], name: str) -> Path:
        """A split's file, whose size is what was written."""
        path, wanted = Path(str(self.path)) / f"{name}.arrow", manifest["splits"][name]["num_bytes"]
        if not path.is_file():
            raise UserError(f"{path} is gone; convert the data again")
        found = path.stat().st_size
        if found != wanted:
            raise UserError(f"{path} is damaged: {found} bytes instead of {wanted}; convert the data again")
        return path


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    splits = {name: manifest["splits"][name]["sha256"] for name in SPLITS}
    return settings_fingerprint(kind="store", version=VERSION, splits=splits, statistics=manifest["statistics"])


def _statistics(entry: Mapping[str, Any], dim: int) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(entry["mean"]), torch.tensor(entry["std"])
    if mean.shape != (dim,) or std.shape != (dim,) or not bool((std > 0).all()):
        raise ValueError("statistics do not fit the features")
    return mean, std


def _open_split(
    file: Path,
    num_clips: int,
    dims: Mapping[str, int],
    lengths: Mapping[str, int],
    statistics: Mapping[str, tuple[Tensor, Tensor]],
) -> Split:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        labels = np.concatenate([batch.column("label").to_numpy() for batch in batches])
        gather, frames = {}, {}
        for m in MODALITIES:
            # Views of the file: nothing is read before its rows are asked for.
            values = [batch.column(m).values.to_numpy(zero_copy_only=True) for batch in batches]
            chunks = [v.reshape(-1, lengths[m], dims[m]) for v in values]
            gather[m] = functools.partial(gather_rows, chunks, *statistics[m])
            ends = [[batch.column(f"{m}_{end}").to_numpy() for batch in batches] for end in ("start", "stop")]
            start, stop = (np.concatenate(parts) for parts in ends)
            frame = np.arange(lengths[m])
            frames[m] = torch.from_numpy((frame >= start[:, None]) & (frame < stop[:, None]))
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error}); convert the data again") from error
    if len(labels) != num_clips:
        raise UserError(f"{file} holds {len(labels)} clips instead of {num_clips}; convert the data again")
    recorded = torch.stack([frames[m].any(1) for m in MODALITIES], 1)
    return Split(gather, frames, recorded, torch.from_numpy(labels.astype(np.float32)))


def gather_rows(chunks: Sequence[NDArray[np.float32]], mean: Tensor, std: Tensor, rows: Tensor) -> Tensor:
    """Standardised features [B, L, D] of rows [B]; ``chunks`` hold `CHUNK` clips each, the last one the rest."""
    wanted = rows.numpy()
    out = np.empty((len(wanted), *chunks[0].shape[1:]), np.float32)
    for chunk in np.unique(wanted // CHUNK):
        inside = wanted // CHUNK == chunk
        out[inside] = chunks[chunk][wanted[inside] % CHUNK]
    return torch.from_numpy(out).sub_(mean).div_(std)

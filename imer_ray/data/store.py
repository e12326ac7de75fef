"""Data set `store`: what `python -m imer_ray.convert` wrote, memory-mapped.

A store is a folder with ``dataset.json`` (shapes, counts, checksums, statistics of the training clips) and one Arrow
file per split, whose record batches hold up to `CHUNK` clips: the columns ``label``, maybe ``id``, and for each
modality m ``m`` (a fixed-size list of L x D floats) with ``m_start`` and ``m_stop`` (recorded: start <= frame < stop).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.config.typed_text import FilePath
from imer_ray.data.dataset import SPLITS, UNNAMED, Dataset, Split, settings_fingerprint
from imer_ray.data.label_scale import LABEL_LIMIT
from imer_ray.data.manifest import VERSION, Manifest, read_manifest
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.files import sha256
from imer_ray.received import check_file, one_line, unreadable

CHUNK = 128  # clips of a record batch


@dataclass(frozen=True)
class Store:
    """A converted data set; ``path`` is its folder."""

    path: FilePath | None = None

    def fingerprint(self) -> str:
        """A hash of the files' checksums and the statistics; reads every file once to check that it is whole."""
        manifest = self._manifest()
        for name in SPLITS:
            file = self._file(manifest, name)
            try:
                found = sha256(file)
            except OSError as error:
                raise unreadable(str(file), error) from error
            if found != manifest.splits[name].sha256:
                raise UserError(f"{file} is damaged: its checksum is wrong; convert the data again")
        return _fingerprint(manifest)

    def load(self) -> Dataset:
        manifest = self._manifest()
        splits = {name: _open_split(self._file(manifest, name), manifest, name) for name in SPLITS}
        statistics = {
            m: (torch.from_numpy(mean), torch.from_numpy(std)) for m, (mean, std) in manifest.statistics.items()
        }
        return Dataset(
            dims=manifest.dims,
            lengths=manifest.lengths,
            label_kind=manifest.label_kind,
            fingerprint=_fingerprint(manifest),
            splits=splits,
            statistics=statistics,
            at_the_end=manifest.at_the_end,
            feature_names={**UNNAMED, **manifest.feature_names},
        )

    def source(self) -> Mapping[str, Any]:
        """Name, size and SHA-256 of the file that was converted, as far as they are noted."""
        return self._manifest().source

    def _manifest(self) -> Manifest:
        if self.path is None:
            raise UserError("data=store needs the folder that imer_ray.convert wrote: data.path=data/mosi")
        return read_manifest(Path(self.path))

    def _file(self, manifest: Manifest, name: str) -> Path:
        """A split's file, whose size is what was written."""
        path, wanted = Path(str(self.path)) / f"{name}.arrow", manifest.splits[name].num_bytes
        check_file(path, str(path), "the file is gone; convert the data again")
        found = path.stat().st_size
        if found != wanted:
            raise UserError(f"{path} is damaged: {found} bytes instead of {wanted}; convert the data again")
        return path


def _fingerprint(manifest: Manifest) -> str:
    splits = {name: manifest.splits[name].sha256 for name in SPLITS}
    return settings_fingerprint(kind="store", version=VERSION, splits=splits, statistics=manifest.statistics_entry)


def _open_split(file: Path, manifest: Manifest, name: str) -> Split:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        num_clips = [batch.num_rows for batch in batches]
        if sum(num_clips) != manifest.splits[name].num_clips or any(n != CHUNK for n in num_clips[:-1]):
            raise ValueError(f"it holds {sum(num_clips)} clips instead of {manifest.splits[name].num_clips}")
        labels = np.concatenate([_column(batch, "label", pa.float32()).to_numpy() for batch in batches])
        known = np.abs(labels[~np.isnan(labels)])
        if (known > LABEL_LIMIT).any() or manifest.label_kind == "binary" and (known != 1).any():
            raise ValueError("a label is out of range")
        gather, frames = {}, {}
        for m in MODALITIES:
            L, D = manifest.lengths[m], manifest.dims[m]
            # Views of the file: nothing is read before its rows are asked for.
            parts = [_column(batch, m, pa.list_(pa.float32(), L * D)) for batch in batches]
            chunks = [part.flatten().to_numpy(zero_copy_only=True).reshape(-1, L, D) for part in parts]
            gather[m] = functools.partial(gather_rows, chunks)
            frames[m] = _recorded_frames(batches, m, L)
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{file} is damaged: {one_line(error)}; convert the data again") from error
    recorded = torch.stack([frames[m].any(1) for m in MODALITIES], 1)
    return Split(gather, frames, recorded, torch.from_numpy(labels))


def _column(batch: Any, name: str, kind: Any) -> Any:
    """A column that fits the file, of the kind that is written, without gaps."""
    position = batch.schema.get_field_index(name)
    if position < 0:
        raise ValueError(f"the column {name} is not there")
    column = batch.column(position)
    if column.type != kind:
        raise ValueError(f"the column {name} holds {column.type} instead of {kind}")
    column.validate()
    if column.null_count or len(column) != batch.num_rows:
        raise ValueError(f"the column {name} has gaps")
    return column


def _recorded_frames(batches: Sequence[Any], m: str, num_frames: int) -> Tensor:
    """[N, L], True where start <= frame < stop."""
    import pyarrow as pa

    ends = [[_column(batch, f"{m}_{end}", pa.int32()).to_numpy() for batch in batches] for end in ("start", "stop")]
    start, stop = (np.concatenate(parts) for parts in ends)
    if (start < 0).any() or (stop > num_frames).any() or (start > stop).any():
        raise ValueError(f"{m} is recorded from or to frames that a clip has not")
    frame = np.arange(num_frames)
    return torch.from_numpy((frame >= start[:, None]) & (frame < stop[:, None]))


def gather_rows(chunks: Sequence[NDArray[np.float32]], rows: Tensor) -> Tensor:
    """Features [B, L, D] of rows [B]; ``chunks`` hold `CHUNK` clips each, the last one the rest."""
    wanted = rows.numpy()
    out = np.empty((len(wanted), *chunks[0].shape[1:]), np.float32)
    for chunk in np.unique(wanted // CHUNK):
        inside = wanted // CHUNK == chunk
        out[inside] = chunks[chunk][wanted[inside] % CHUNK]
    return torch.from_numpy(out)

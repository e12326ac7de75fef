"""Clips as an archive of numpy's arrays: ``l``, ``a``, ``v`` [N, T, D] or [N, D], maybe ``l_lengths``, ... and ``id``.

numpy's own reader holds a whole array; this one reads clip after clip, from compressed archives too. Nothing pickled is
read.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.mmsa_frames import filled_frames, repair
from imer_ray.data.padding import extent
from imer_ray.errors import UserError
from imer_ray.prediction.files.padded import own_frames
from imer_ray.prediction.files.rows import ID, Row, Rows, Wanted, check_clip_size, columns_of, id_of
from imer_ray.received import one_line

MAX_COLUMN_BYTES = 2**28  # of the ids, or of lengths: these are read at once
MAX_HEADER_BYTES = 10_000
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What zipfile, zlib and numpy raise for damaged bytes; RuntimeError for an unknown compression and for a password.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, RuntimeError)


@contextmanager
def read(path: Path, wanted: Wanted) -> Iterator[Rows]:
    """The clips of an archive; without ``id`` they go by their numbers, from 0.

    ``l_lengths`` [N] says how many frames of a clip are its own, from the first. Without them, frames of zeros at both
    ends are padding, as in files that `imer_ray.convert` reads.
    """
    with ExitStack() as stack:
        with _damage(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            columns = columns_of(members, wanted.modalities, str(path))
            arrays = {m: stack.enter_context(_Stream.open(path, archive, members[name])) for m, name in columns.items()}
            count = _count(path, arrays, columns)
            lengths = {
                m: _lengths(path, archive, members[f"{name}_lengths"], count, arrays[m].num_frames)
                for m, name in columns.items()
                if f"{name}_lengths" in members
            }
            ids = _column(path, archive, members[ID], count, "iuU") if ID in members else None
        yield Rows(count, _rows(path, count, arrays, lengths, ids, wanted))


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged or no archive of numpy's arrays (.npz): {one_line(error)}") from error


class _Stream:
    """An array in an archive, read from its first row to its last."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str) -> None:
        self.where = f"{path}: {name.removesuffix('.npy')}"
        self._file = archive.open(name)
        version = np.lib.format.read_magic(self._file)
        if version not in _HEADERS:
            raise ValueError(f"{name} has a format of numpy that is not known")
        self.shape, self._fortran, self.dtype = _HEADERS[version](self._file, max_header_size=MAX_HEADER_BYTES)

    @classmethod
    @contextmanager
    def open(cls, path: Path, archive: zipfile.ZipFile, name: str) -> Iterator[_Stream]:
        """An array of features.

        Raises:
            UserError: it is none.
        """
        stream = cls(path, archive, name)
        if stream.dtype.kind not in "fiu" or len(stream.shape) not in (2, 3) or min(stream.shape) < 1:
            raise UserError(
                f"{stream.where} must hold numbers, clips x frames x features (or clips x features), not "
                f"{one_line(stream.dtype)} {stream.shape}"
            )
        if stream._fortran and stream.shape[0] > 1:
            raise UserError(f"{stream.where} is in Fortran order; write numpy.ascontiguousarray of it instead")
        check_clip_size(stream.where, stream.num_frames, stream.shape[-1])
        yield stream

    @property
    def num_frames(self) -> int:
        return self.shape[1] if len(self.shape) == 3 else 1

    def next(self) -> NDArray[Any]:
        """The next clip [T, D]."""
        return self.take(self.num_frames * self.shape[-1]).reshape(self.num_frames, self.shape[-1])

    def take(self, count: int) -> NDArray[Any]:
        raw = self._file.read(count * self.dtype.itemsize)
        if len(raw) != count * self.dtype.itemsize:
            raise ValueError(f"{self.where} ends too early")
        return np.frombuffer(raw, self.dtype)


def _count(path: Path, arrays: Mapping[str, _Stream], columns: Mapping[str, str]) -> int:
    counts = {columns[m]: array.shape[0] for m, array in arrays.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"{path}: each array must hold all clips, and they hold {said}")
    return next(iter(counts.values()))


def _column(path: Path, archive: zipfile.ZipFile, name: str, count: int, kinds: str) -> NDArray[Any]:
    """An array of one value a clip."""
    stream = _Stream(path, archive, name)
    if stream.dtype.kind not in kinds or stream.shape != (count,):
        words = "text or whole numbers" if "U" in kinds else "whole numbers"
        raise UserError(f"{stream.where} must hold {words}, one for each of the {count} clips")
    if (size := math.prod(stream.shape) * stream.dtype.itemsize) > MAX_COLUMN_BYTES:
        raise UserError(f"{stream.where} has {size:,} bytes; at most {MAX_COLUMN_BYTES:,} are read")
    return stream.take(count)


def _lengths(path: Path, archive: zipfile.ZipFile, name: str, count: int, num_frames: int) -> NDArray[Any]:
    lengths = _column(path, archive, name, count, "iu")
    if (wrong := np.flatnonzero((lengths < 0) | (lengths > num_frames))).size:
        row, key = int(wrong[0]), name.removesuffix(".npy")
        raise UserError(f"{path}: {key} gives clip {row} (from 0) {lengths[row]} frames, and there are {num_frames}")
    return lengths


def _rows(
    path: Path,
    count: int,
    arrays: Mapping[str, _Stream],
    lengths: Mapping[str, NDArray[Any]],
    ids: NDArray[Any] | None,
    wanted: Wanted,
) -> Iterator[Row]:
    for i in range(count):
        raw = {}
        with _damage(path):
            clip = {m: array.next() for m, array in arrays.items()}
        for m, x in clip.items():
            start, stop = (0, int(lengths[m][i])) if m in lengths else _extent(x)
            raw[m] = own_frames(x, start, stop, False, m in wanted.at_the_end)
        yield _row(None if ids is None else ids[i].item(), i, raw)


def _row(value: Any, number: int, raw: Mapping[str, Any]) -> Row:
    try:
        return id_of(value, number), raw
    except UserError as error:
        return str(number), error


def _extent(x: NDArray[Any]) -> tuple[int, int]:
    start, stop = extent(filled_frames(repair(x[None])[0]))
    return int(start[0]), int(stop[0])

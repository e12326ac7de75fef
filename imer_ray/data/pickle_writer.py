"""Write a pickle of strings, numbers and numpy arrays piece by piece, so that memory does not grow with its size.

Python's own pickler wants every array whole. Here an array is first left as a `Hole` of known length in the file and
filled afterwards, rows in any order. What comes out is an ordinary pickle of protocol 4 (PEP 3154): ``pickle.load``
gives the arrays that ``pickle.dump`` would have been given.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

PROTOCOL = 4


@dataclass(frozen=True)
class Hole:
    """Where the numbers of an array of the given shape (C order) lie in a file."""

    file: BinaryIO
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def fill(self, first: int, rows: NDArray[Any]) -> None:
        """Write rows [N, ...], the first of which is row number ``first``."""
        if rows.shape[1:] != self.shape[1:] or not 0 <= first <= self.shape[0] - len(rows):
            raise ValueError(f"rows {rows.shape} from {first} on do not fit an array of shape {self.shape}")
        self.file.seek(self.offset + first * math.prod(self.shape[1:]) * self.dtype.itemsize)
        self.file.write(np.ascontiguousarray(rows, self.dtype).data)


class PickleWriter:
    """Write one value to an empty file that is open for writing: one call per piece, then `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._put(pickle.PROTO, struct.pack("<B", PROTOCOL))

    @contextlib.contextmanager
    def dictionary(self) -> Iterator[None]:
        """What is written inside becomes a dictionary: key, value, key, value, ..."""
        self._put(pickle.EMPTY_DICT, pickle.MARK)
        yield
        self._put(pickle.SETITEMS)

    def string(self, text: str) -> None:
        content = text.encode()
        self._put(pickle.BINUNICODE, struct.pack("<I", len(content)), content)

    def strings(self, texts: Iterable[str]) -> None:
        """A list of strings."""
        self._put(pickle.EMPTY_LIST, pickle.MARK)
        for text in texts:
            self.string(text)
        self._put(pickle.APPENDS)

    def integers(self, values: Iterable[int]) -> None:
        """A list of integers."""
        self._put(pickle.EMPTY_LIST, pickle.MARK)
        self._integers(values)
        self._put(pickle.APPENDS)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Hole:
        """A numpy array; zeros until the returned hole is filled.

        The functions named here are those of numpy's own pickles. ``numpy.core`` is their old place, where numpy 1 and
        2 both look.
        """
        self._function("numpy.core.multiarray", "_reconstruct")
        self._function("numpy", "ndarray")
        self._integers([0])
        self._put(pickle.TUPLE1, pickle.SHORT_BINBYTES, b"\x01b", pickle.TUPLE3, pickle.REDUCE)
        self._put(pickle.MARK)  # the state: version, shape, data type, is Fortran order, numbers
        self._integers([1])
        self._put(pickle.MARK)
        self._integers(shape)
        self._put(pickle.TUPLE)
        self._dtype(dtype)
        num_bytes = math.prod(shape) * dtype.itemsize
        self._put(pickle.NEWFALSE, pickle.BINBYTES8, struct.pack("<Q", num_bytes))
        hole = Hole(self._file, self._file.tell(), shape, dtype)
        self._file.seek(num_bytes, 1)
        self._put(pickle.TUPLE, pickle.BUILD)
        return hole

    def finish(self) -> None:
        self._put(pickle.STOP)

    def _dtype(self, dtype: np.dtype[Any]) -> None:
        self._function("numpy", "dtype")
        self.string(dtype.str[1:])
        self._put(pickle.NEWFALSE, pickle.NEWTRUE, pickle.TUPLE3, pickle.REDUCE)
        self._put(pickle.MARK)  # the state: version, byte order, nothing composed, no size or alignment of its own
        self._integers([3])
        self.string(dtype.str[0])
        self._put(pickle.NONE, pickle.NONE, pickle.NONE)
        self._integers([-1, -1, 0])
        self._put(pickle.TUPLE, pickle.BUILD)

    def _integers(self, values: Iterable[int]) -> None:
        for value in values:
            self._put(pickle.BININT, struct.pack("<i", value))

    def _function(self, module: str, name: str) -> None:
        self._put(pickle.GLOBAL, f"{module}\n{name}\n".encode())

    def _put(self, *pieces: bytes) -> None:
        self._file.write(b"".join(pieces))

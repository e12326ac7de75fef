"""What a pickle may hold beside plain values: numpy arrays, and the few functions that numpy's pickles call.

The functions are numpy's own in name only: they are written out here and check what they are given. An array's numbers
stay in the file: it remembers where its rows lie and reads them when asked, so that memory does not grow with the file.
Python 2 wrote text as bytes, so that bytes are taken wherever these functions want text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_AXES = 8
_DTYPE = re.compile(r"[fiu][1248]|b1|O8?|[US][1-9]\d{0,5}")


class Damaged(Exception):
    """The pickle does not hold together."""


@dataclass(frozen=True)
class Span:
    """Bytes that were left in the file."""

    file: BinaryIO
    offset: int
    length: int

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        position = self.file.tell()  # the pickle may still be being read
        self.file.seek(self.offset + start)
        content = self.file.read((self.length if stop is None else stop) - start)
        self.file.seek(position)
        return content


def as_text(value: Any) -> Any:
    """The text in bytes, UTF-8 or what else Python 2 wrote; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin1")


class DType:
    """A plain numpy data type: a number, a string or an object."""

    __slots__ = ("order", "text")

    def __init__(self, text: Any, *_: Any) -> None:
        text = as_text(text)
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise Damaged("a data type that is not a plain one")
        self.text, self.order = text, "|"

    def build(self, state: Any) -> None:
        _, order, *composed = state[:5]
        self.order = as_text(order)
        if self.order not in ("<", ">", "|", "=") or any(part is not None for part in composed):
            raise Damaged("composed data types are not read")

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.text.removesuffix("8") if self.text[0] == "O" else self.order + self.text)


class Array:
    """A numpy array whose numbers stay in the file until its rows are asked for."""

    __slots__ = ("_fortran", "_payload", "dtype", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype = np.dtype(np.uint8)
        self._payload: Span | bytes | list[Any] = b""
        self._fortran = False

    def build(self, state: Any) -> None:
        """Take numpy's state (version, shape, dtype, is Fortran order, payload)."""
        _, shape, dtype, self._fortran, payload = state
        if type(shape) is not tuple or len(shape) > MAX_AXES or not all(type(n) is int and n >= 0 for n in shape):
            raise Damaged("an array without a proper shape")
        self.shape, self.dtype, self._payload = shape, dtype.numpy, payload
        count = math.prod(shape)
        if isinstance(payload, list) != self.dtype.hasobject:
            raise Damaged("an array whose payload does not fit its data type")
        wanted = count * (1 if isinstance(payload, list) else self.dtype.itemsize)
        found = payload.length if isinstance(payload, Span) else len(payload)
        if wanted != found:
            raise Damaged(f"an array of shape {shape} whose payload has {found} instead of {wanted}")

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """The rows [start, stop) along the first axis."""
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        shape = (max(stop - start, 0), *self.shape[1:])
        if isinstance(self._payload, list):
            whole = np.empty(len(self._payload), dtype=object)
            whole[:] = self._payload
        elif isinstance(self._payload, Span) and self._fortran and stop > start:
            return self._columns(self._payload, start, stop).reshape(shape, order="F")
        elif isinstance(self._payload, Span) and self.shape[0]:
            size = self._payload.length // self.shape[0]
            raw = self._payload.read(start * size, max(stop, start) * size)
            return (np.frombuffer(raw, self.dtype) if raw else np.empty(0, self.dtype)).reshape(shape)
        else:
            raw = self._payload.read() if isinstance(self._payload, Span) else self._payload
            whole = np.frombuffer(raw, self.dtype) if raw else np.empty(0, self.dtype)
        return whole.reshape(self.shape, order="F" if self._fortran else "C")[start:stop]

    def _columns(self, payload: Span, start: int, stop: int) -> NDArray[Any]:
        """The rows [start, stop) of an array in Fortran order, flat: each number of a row, all rows' side by side."""
        out = np.empty((math.prod(self.shape[1:]), stop - start), self.dtype)
        size, num_rows = self.dtype.itemsize, self.shape[0]
        for i in range(len(out)):
            raw = payload.read((i * num_rows + start) * size, (i * num_rows + stop) * size)
            out[i] = np.frombuffer(raw, self.dtype)
        return out.ravel()


def _reconstruct(kind: Any, *_: Any) -> Array:
    return Array()


def _frombuffer(payload: Any, dtype: Any, shape: Any, order: Any) -> Array:
    array = Array()
    array.build((1, shape, dtype, order == "F", payload))
    return array


def _scalar(dtype: Any, payload: Any) -> Any:
    raw = payload.read() if isinstance(payload, Span) else payload
    if dtype.numpy.hasobject or len(raw) != dtype.numpy.itemsize:
        raise Damaged("a numpy scalar whose bytes do not fit its data type")
    return np.frombuffer(raw, dtype.numpy)[0].item()


def _encode(text: Any, codec: Any) -> bytes:
    if as_text(codec) not in ("latin1", "latin-1"):
        raise Damaged("bytes in an unknown encoding")
    return text.encode("latin1")  # how protocol 2 spells bytes


def _bytes(*arguments: Any) -> bytes:
    if arguments:
        raise Damaged("bytes made from something")
    return b""  # how protocol 2 spells empty bytes


def _ndarray(*_: Any) -> Any:
    raise Damaged("an array made without numpy's own function")


FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,  # only ever an argument of _reconstruct
    ("numpy", "dtype"): DType,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}

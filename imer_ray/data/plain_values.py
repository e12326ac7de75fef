"""Lists and arrays of plain values out of a pickle: numbers and names, one for each clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.pickled_array import Array, as_text
from imer_ray.errors import UserError

MAX_NAME = 200  # characters; a name is written once a clip, so that a long one shared by all would fill a disk


def numbers(where: str, value: Any) -> NDArray[np.float64]:
    """[N] of an array [N] or [N, 1], or of a list; a number alone in a list or array counts as the number.

    Raises:
        UserError: something in it is no number, and which.
    """
    if isinstance(value, Array) and value.dtype.kind in "fiu" and value.shape:
        if value.shape[0] and np.prod(value.shape[1:], dtype=float) != 1:
            raise UserError(f"{where} has the shape {value.shape}, and one number a clip is needed")
        with np.errstate(over="ignore"):
            return value.rows().astype(np.float64).ravel()
    items = _items(value)
    if items is None:
        raise UserError(f"{where} must be numbers, one a clip, not {_shown(value)}")
    found = [_alone(item) for item in items]
    for number, item in enumerate(found):
        if type(item) not in (int, float):
            raise UserError(f"{where} must be numbers, and that of clip {number} (from 0) is {_shown(item)}")
    return np.array(found, np.float64)


def names(value: Any) -> list[str] | None:
    """The names in a list or array of text, of Python 2's bytes or of whole numbers; None where it holds others."""
    items = _items(value)
    if items is None:
        return None
    found = [str(item) if type(item) is int else as_text(item) for item in map(_alone, items)]
    return found if all(map(_is_name, found)) else None


def _is_name(value: Any) -> bool:
    if type(value) is not str or len(value) > MAX_NAME:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)  # half a letter, which no file can hold


def _items(value: Any) -> Sequence[Any] | None:
    if isinstance(value, Array):
        return value.rows().ravel().tolist() if value.shape and value.shape[0] == np.prod(value.shape) else None
    return value if isinstance(value, (list, tuple)) else None


def _alone(item: Any) -> Any:
    """The only value in a list or an array of one, a few deep."""
    for _ in range(3):
        inner = _items(item) if isinstance(item, (list, tuple)) or isinstance(item, Array) and item.shape else None
        if inner is None or len(inner) != 1:
            break
        item = inner[0]
    return item


def _shown(value: Any) -> str:
    """A value in an error's words; what is nested may be endless and is named by its kind."""
    if isinstance(value, (str, bytes)):
        return repr(value[:40])
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"a {type(value).__name__.lower()}"

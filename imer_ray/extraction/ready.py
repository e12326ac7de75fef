"""Ready-made features of a clip: an array in numpy's format, read without running anything it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.mmsa import MAX_VALUES
from imer_ray.errors import UserError
from imer_ray.received import check_file, one_line


def ready_suffix(m: str) -> str:
    """How the name of a file with ready-made features of a modality ends."""
    return f".{m}.npy"


def read_ready(path: Path) -> NDArray[np.float32]:
    """Features [T, D] of an array [T, D], or of one frame [D].

    Raises:
        UserError: the file is missing, damaged, too large, or holds something else.
    """
    check_file(path, absent="no such file")
    try:  # mapped, so that a header that promises more than the file holds makes no room for it
        found = np.lib.format.open_memmap(path, mode="r")  # which maps no objects
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, MemoryError, OverflowError) as error:
        raise UserError(f"{path} is damaged or no array of numbers: {one_line(error)}") from error
    if found.dtype.kind not in "fiu" or found.ndim not in (1, 2):
        raise UserError(f"{path} must hold numbers, frames x features, as numpy.save writes them")
    if found.size > MAX_VALUES:
        raise UserError(f"{path} holds {found.size:,} numbers; at most {MAX_VALUES:,} are read")
    with np.errstate(over="ignore"):
        return np.atleast_2d(np.array(found, np.float32))

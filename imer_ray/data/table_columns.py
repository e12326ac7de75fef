"""Columns of a parquet table, checked: each of the kind that is needed, without gaps, whoever wrote it.

pandas and polars write the same columns as other types: text as categories or large strings, vectors as lists.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.dataset import SPLITS
from imer_ray.errors import UserError
from imer_ray.received import one_line

MAX_CLIPS = 200_000  # a table of equal rows takes hardly any room in a file


def text(path: Path, table: Any, name: str) -> NDArray[Any]:
    """A column of text [N]."""
    return _plain(path, table, name, _is_text, "text")


def text_or_number(path: Path, table: Any, name: str) -> NDArray[Any]:
    """A column of text or whole numbers [N], as text."""
    from pyarrow import types

    def fits(kind: Any) -> bool:
        return _is_text(kind) or types.is_integer(kind)

    return _plain(path, table, name, fits, "text or a whole number").astype(str)


def whole_numbers(path: Path, table: Any, name: str) -> NDArray[Any]:
    """A column of whole numbers [N]."""
    from pyarrow import types

    return _plain(path, table, name, types.is_integer, "a whole number")


def true_or_false(path: Path, table: Any, name: str) -> NDArray[np.bool_]:
    """A column of truth values [N]."""
    from pyarrow import types

    return _plain(path, table, name, types.is_boolean, "true or false").astype(bool)


def two_classes(path: Path, table: Any, name: str) -> NDArray[Any]:
    """A column of 0 and 1 [N]."""
    from pyarrow import types

    def fits(kind: Any) -> bool:
        return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)

    values = _plain(path, table, name, fits, "0 or 1").astype(np.float64)
    if len(beyond := values[~np.isin(values, (0, 1))]):
        raise UserError(
            f"{path}: column {name} must be 0 or 1, and {len(beyond)} rows are not, the first {beyond[0]:g}"
        )
    return values.astype(np.int8)


def split_names(path: Path, table: Any, name: str) -> NDArray[Any]:
    """A column of train, valid and test [N]."""
    values = text(path, table, name)
    if others := sorted(set(values) - set(SPLITS)):
        raise UserError(f"{path}: column {name} must be {', '.join(SPLITS)}, not {others[0][:40]!r}")
    return values


def vectors(path: Path, table: Any, name: str, width: int) -> NDArray[np.float32]:
    """A column of lists of ``width`` finite numbers as [N, width]."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    column = table[name]
    kind = column.type
    fixed = types.is_fixed_size_list(kind)
    listed = types.is_list(kind) or types.is_large_list(kind)
    sizes = {kind.list_size} if fixed else set(pc.unique(pc.list_value_length(column)).to_pylist()) if listed else set()
    if not (fixed or listed) or not types.is_floating(kind.value_type) or sizes - {None} - {width}:
        found = f"{min(sizes - {None})} to {max(sizes - {None})}" if sizes - {None} and listed else one_line(kind)
        raise UserError(f"{path}: column {name} must hold {width} numbers a clip, not {found}")
    values = pa.concat_arrays(column.chunks).flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if len(values) != len(column) * width or not np.isfinite(values).all():
        raise UserError(f"{path}: column {name} has empty or non-finite entries")
    return values.reshape(-1, width)


def vectors_or_nan(path: Path, table: Any, name: str, width: int) -> NDArray[np.float32]:
    """A column as of `vectors` [N, width], NaN where it has none."""
    column = table[name]
    there = column.is_valid().to_numpy()
    out = np.full((len(column), width), np.nan, np.float32)
    if there.any():
        out[there] = vectors(path, {name: column.drop_null()}, name, width)
    return out


def text_or_none(path: Path, table: Any, name: str) -> NDArray[Any]:
    """A column of text [N], None where there is none."""
    column = table[name]
    there = column.is_valid().to_numpy()
    out = np.full(len(column), None, object)
    if there.any():
        out[there] = text(path, {name: column.drop_null()}, name)
    return out


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _plain(path: Path, table: Any, name: str, fits: Callable[[Any], bool], wanted: str) -> NDArray[Any]:
    from pyarrow import types

    column = table[name]
    if types.is_dictionary(column.type):  # pandas' categories
        column = column.cast(column.type.value_type)
    if not fits(column.type) and not types.is_null(column.type):
        raise UserError(f"{path}: column {name} must hold {wanted}, not {one_line(column.type)}")
    if column.null_count:
        raise UserError(f"{path}: column {name} has empty entries")
    return column.to_numpy()

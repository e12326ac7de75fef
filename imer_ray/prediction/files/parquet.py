"""Clips of a parquet table, a row each: columns ``l``, ``a``, ``v`` of lists of frames, maybe ``id``.

A frame is a list of numbers; a column that holds one such list a row holds clips of one frame. Without a value, or
without the column, the modality is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from imer_ray.data.mmsa import MAX_VALUES
from imer_ray.errors import UserError
from imer_ray.prediction.clip import Frames
from imer_ray.prediction.files.rows import BATCH_VALUES, ID, ReadsTables, Row, Rows, Wanted, columns_of, id_of
from imer_ray.received import one_line

MAX_ROWS = 1024  # that are held at once
MOST_VALUES, VALUES_PER_BYTE = 2**24, 256  # of a row group: what few bytes may unfold to
_BUFFER_BYTES = 2**16


@contextmanager
def read(path: Path, wanted: Wanted) -> Iterator[Rows]:
    """The rows of a table; without ``id`` they go by their numbers, from 0.

    A table like the one that the model was trained on is read by that data component (`ReadsTables`).
    """
    import pyarrow.parquet as pq

    with _damage(path):
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)  # else a row group is held whole
        found = file.schema_arrow.names
    with file:
        if isinstance(wanted.data, ReadsTables) and wanted.data.is_table(found):
            widths = {m: wanted.widths[m] for m in wanted.modalities}
            clips = wanted.data.clips(path, widths)
            yield Rows(file.metadata.num_rows, ((id, _with_frames(clip)) for id, clip in clips))
            return
        columns = columns_of(found, wanted.modalities, f"{path}: the table")
        named = [*columns.values(), *([ID] if ID in found else [])]
        if twice := [name for name in named if found.count(name) > 1]:
            raise UserError(f"{path}: column {', '.join(twice)} is there twice; remove one of them")
        for name in columns.values():
            _check_kind(path, name, file.schema_arrow.field(name).type)
        if ID in named:
            _check_id(path, file.schema_arrow.field(ID).type)
        yield Rows(file.metadata.num_rows, _rows(path, file, columns, named))


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged or no parquet table: {one_line(error)}") from error


def _with_frames(clip: Mapping[str, Any]) -> dict[str, Frames | None]:
    return {m: None if both is None else Frames(*both) for m, both in clip.items()}


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _check_kind(path: Path, name: str, kind: Any) -> None:
    from pyarrow import types

    inner = kind
    for _ in range(2):
        inner = inner.value_type if _is_list(inner) else inner
    numbers = types.is_integer(inner) or types.is_floating(inner) or types.is_null(inner)
    if not numbers or not (_is_list(kind) or types.is_null(kind)):
        raise UserError(
            f"{path}: column {name} must hold lists of numbers, one for each frame of a clip (or one list, of a clip "
            f"of one frame), not {one_line(kind)}"
        )


def _check_id(path: Path, kind: Any) -> None:
    from pyarrow import types

    plain = kind.value_type if types.is_dictionary(kind) else kind
    text = types.is_string(plain) or types.is_large_string(plain) or types.is_string_view(plain)
    if not text and not types.is_integer(plain):
        raise UserError(f"{path}: column {ID} must hold text or whole numbers, not {one_line(kind)}")


def _rows(path: Path, file: Any, columns: Mapping[str, str], named: Sequence[str]) -> Iterator[Row]:
    leaves = [i for i in range(len(file.schema)) if file.schema.column(i).path.partition(".")[0] in named]
    with _damage(path):  # every page, to tell damage before all else; Python's view of damaged metadata would crash
        file.scan_contents(leaves)
    number = 0
    for group in range(file.metadata.num_row_groups):
        size = _batch_size(path, file.metadata.row_group(group), group, leaves)
        batches = file.iter_batches(size, row_groups=[group], columns=list(named))
        while (batch := _next(path, batches)) is not None:
            with _damage(path):
                clips = {m: _clips(batch.column(name)) for m, name in columns.items()}
                ids = batch.column(ID).to_pylist() if ID in named else [None] * len(batch)
            for i, value in enumerate(ids):
                yield _row(value, number, {m: of_rows[i] for m, of_rows in clips.items()})
                number += 1


def _next(path: Path, batches: Iterator[Any]) -> Any:
    with _damage(path):
        return next(batches, None)


def _row(value: Any, number: int, raw: Mapping[str, Any]) -> Row:
    try:
        return id_of(value, number), raw
    except UserError as error:
        return str(number), error


def _batch_size(path: Path, group: Any, number: int, leaves: Iterable[int]) -> int:
    """Rows to read at once, by how many numbers they have on average.

    Raises:
        UserError: they have more than clips have, or unfold to far more than they take.
    """
    columns = [group.column(i) for i in leaves]
    counts, num_bytes = [column.num_values for column in columns], sum(c.total_compressed_size for c in columns)
    most, rows = max(counts), max(1, group.num_rows)
    if most > rows * MAX_VALUES or sum(counts) > MOST_VALUES + VALUES_PER_BYTE * max(0, num_bytes):
        raise UserError(
            f"{path}: row group {number} has {sum(counts):,} numbers in {group.num_rows:,} rows and {num_bytes:,} "
            f"bytes: at most {MAX_VALUES:,} a clip and modality, and {VALUES_PER_BYTE} a byte, are read"
        )
    return max(1, min(MAX_ROWS, BATCH_VALUES * rows // max(1, most)))


def _clips(column: Any) -> list[Any]:
    """For each row the frames [T, D], or a list of frames [D] and None where they differ or some are missing."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_null(column.type):
        return [None] * len(column)
    flat = not _is_list(column.type.value_type)  # one frame a clip
    wanted = pa.large_list(pa.float32()) if flat else pa.large_list(pa.large_list(pa.float32()))
    column = column.cast(wanted, safe=False)
    frames = column if flat else column.values
    there = column.is_valid().to_numpy(zero_copy_only=False)
    cuts = np.arange(len(column) + 1) if flat else column.offsets.to_numpy()
    starts, known = frames.offsets.to_numpy(), frames.is_valid().to_numpy(zero_copy_only=False)
    values = frames.values.to_numpy(zero_copy_only=False)
    return [_frames(starts, known, values, *cuts[i : i + 2]) if there[i] else None for i in range(len(column))]


def _frames(starts: Any, known: Any, values: Any, first: int, last: int) -> Any:
    bounds, given = starts[first : last + 1], known[first:last]
    widths = np.diff(bounds)
    if len(widths) and given.all() and (widths == widths[0]).all():
        return values[bounds[0] : bounds[-1]].reshape(len(widths), int(widths[0]))
    return [values[bounds[i] : bounds[i + 1]] if given[i] else None for i in range(len(widths))]

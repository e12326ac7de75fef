"""Parquet files that others may have written: read within bounds and with the columns' own types, or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imer_ray.errors import UserError
from imer_ray.results.words import json_texts

MAX_BYTES = 2**31  # of a table in memory; five thousand trials take a tenth of a gigabyte
BATCH_ROWS = 256  # so that few rows with long texts are read beyond it
LAST = 9_214_646_400_000_000  # microseconds since 1970: the year 2262, up to which all libraries can handle moments
SCALARS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_string,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_null,
)


def read_table(path: Path, advice: str) -> pa.Table:
    """All rows, with their metadata.

    Args:
        advice: what to do about a file that is none.

    Raises:
        FileNotFoundError: it does not exist.
        UserError: it is damaged, no parquet file, or larger than any of ours.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
            batches, left = [], MAX_BYTES - sum(groups)
            for batch in file.iter_batches(batch_size=BATCH_ROWS) if left >= 0 else ():
                left -= batch.nbytes
                if left < 0:
                    break
                batches.append(batch)
            if left < 0:
                raise OSError(f"it holds more than the {MAX_BYTES / 2**30:.0f} GiB that any of ours does")
            table = pa.Table.from_batches(batches, schema=file.schema_arrow)
        table.validate(full=True)
        return table
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path} is damaged or no parquet file ({reason}); {advice}") from error


def typed(table: pa.Table, columns: Mapping[str, pa.DataType], others: Callable[[str], pa.DataType | None]) -> pa.Table:
    """The table with the columns' own types.

    Args:
        others: the type of a column that is not among ``columns``; None: any plain one.

    Raises:
        ValueError: a column's values are not of its type, or it is there twice.
    """
    if twice := [name for name, number in Counter(table.column_names).items() if number > 1]:
        raise ValueError(f"the column {min(twice)} is there twice")
    arrays = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = columns.get(name, others(name))
        try:
            arrays.append(column if kind is None else column.cast(kind))
        except pa.ArrowException as error:
            raise ValueError(f"{name} is not {kind}") from error
        if kind is None and not any(is_kind(column.type) for is_kind in SCALARS):
            raise ValueError(f"{name} is {str(column.type)[:60]}, not a plain value")
        if pa.types.is_timestamp(arrays[-1].type):
            _check_moments(name, arrays[-1])
    return pa.Table.from_arrays(arrays, names=table.column_names, metadata=table.schema.metadata)


def _check_moments(name: str, column: pa.ChunkedArray) -> None:
    found = pc.min_max(column)
    if found["min"].is_valid and (found["min"].value < 0 or found["max"].value > LAST):
        raise ValueError(f"{name} is before 1970 or after 2261")


def check_numbers(table: pa.Table, names: Iterable[str], needed: bool) -> None:
    """Raises ValueError unless columns hold counts; ``needed``: none may be missing."""
    for name in names:
        if name not in table.column_names:
            continue
        column = table.column(name)
        found = pc.min_max(column)
        if (needed and column.null_count) or (found["min"].is_valid and not 0 <= found["min"].as_py() <= 2**31):
            raise ValueError(f"{name} is missing or negative in a row")
        if found["max"].is_valid and found["max"].as_py() > 2**31:
            raise ValueError(f"{name} is {found['max'].as_py()} in a row")


def check_objects(table: pa.Table, names: Iterable[str]) -> None:
    """Raises ValueError unless texts hold JSON objects of texts, where there are any."""
    for name in names:
        for text in pc.unique(table.column(name)).to_pylist() if name in table.column_names else ():
            if text is not None:
                json_texts(text, name)

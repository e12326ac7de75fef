"""Write ``results.parquet``, whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imer_ray.files import write_whole
from imer_ray.results.schema import StudyInfo, arrow_schema


def write_results(path: Path, rows: Sequence[Mapping[str, Any]], info: StudyInfo) -> None:
    """Write all rows (``{column: value}``; absent means null), ordered by trial, point and repeat.

    Raises:
        UserError: the disk is full or forbids it; the file that was there before is untouched.
    """
    rows = sorted(rows, key=lambda row: (row["trial"], row["point"], row.get("repeat") or 0))
    schema = arrow_schema(rows, info)
    columns = [pa.array([_cell(row.get(f.name), f.type) for row in rows], type=f.type) for f in schema]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), buffer)
    write_whole(path, buffer.getvalue())


def _cell(value: Any, kind: pa.DataType) -> Any:
    if kind == pa.string() and value is not None and not isinstance(value, str):
        return json.dumps(value)
    return value

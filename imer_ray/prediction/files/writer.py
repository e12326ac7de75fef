"""Predictions as parquet, CSV or JSON lines, one row a clip: whole, or not at all."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from imer_ray.errors import UserError
from imer_ray.files import whole_file
from imer_ray.prediction.predictor import Prediction

Append = Callable[[Sequence[str], Sequence[Prediction]], None]
"""Writes the rows of some more clips: their ids and their predictions."""
COLUMNS = {  # and the kind of each
    "id": "string",
    "value": "double",
    "low": "double",
    "high": "double",
    "probability_positive": "double",
    "available": "string",
    "recovered": "string",
    "spread": "double",
    "num_repaired": "int64",
}


def check_format(output: Path) -> None:
    """Refuse a name that does not say in which format to write."""
    if output.suffix.lower() not in _FORMATS:
        raise UserError(f"output={output}: its name must end in {', '.join(_FORMATS)}, which says what is written")


@contextmanager
def predictions_file(output: Path) -> Iterator[Append]:
    """The file ``output``, which is there when the block ends well, and only then.

    Raises:
        UserError: the disk is full or forbids it.
    """
    with whole_file(output) as file, _FORMATS[output.suffix.lower()](file) as append:
        yield append


def _rows(ids: Sequence[str], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Rows with `COLUMNS`; a value that there is not is None, also where it is NaN."""
    found = []
    for id, prediction in zip(ids, predictions, strict=True):
        row = {"id": id, **dataclasses.asdict(prediction), "recovered": "".join(prediction.recovered)}
        found.append({name: None if row[name] != row[name] else row[name] for name in COLUMNS})
    return found


@contextmanager
def _parquet(file: BinaryIO) -> Iterator[Append]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(list(COLUMNS.items()))
    with pq.ParquetWriter(file, schema) as writer:
        yield lambda ids, predictions: writer.write_table(pa.Table.from_pylist(_rows(ids, predictions), schema))


@contextmanager
def _csv(file: BinaryIO) -> Iterator[Append]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    try:
        yield lambda ids, predictions: writer.writerows(_rows(ids, predictions))
    finally:
        text.detach()


@contextmanager
def _json_lines(file: BinaryIO) -> Iterator[Append]:
    def append(ids: Sequence[str], predictions: Sequence[Prediction]) -> None:
        for row in _rows(ids, predictions):
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    yield append


_FORMATS: Mapping[str, Callable[[BinaryIO], AbstractContextManager[Append]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _json_lines,
}

"""The table of CMU-MOSI's utterance features: one row is one clip with a vector per modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data import table_columns
from imer_ray.errors import UserError
from imer_ray.files import write_whole
from imer_ray.received import one_line

COLUMNS = {"l": "text", "a": "audio", "v": "vision"}
WIDTHS = {"text": 384, "audio": 73, "vision": 100}
TRANSCRIPT, FINETUNED = "raw_text", "finetuned"
SPLIT_COLUMNS = {"speaker": "split", "official": "split_official"}
ROW = "row"  # of a clip in the file
Readers = Mapping[str, Callable[[Path, Any, str], NDArray[Any]]]
_PLACE: Readers = {"video_id": table_columns.text_or_number, "clip": table_columns.whole_numbers}


def finetuned_column(split: str) -> str:
    """What a fine-tuned sentence encoder made of each clip: fit for the split alone that it was fine-tuned for."""
    return f"text_{split}"


def read_table(path: Path, split: str, more: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """The table's columns, and ``more``, checked, in order of video and clip; the split's column is called ``split``,
    and that of its fine-tuned language features, where the table has them, ``finetuned``."""
    split_column, finetuned = SPLIT_COLUMNS[split], finetuned_column(split)

    def readers(found: list[str]) -> Readers:
        widths = {**WIDTHS, **({finetuned: WIDTHS["text"]} if finetuned in found else {})}
        return {
            **_PLACE,
            "label": table_columns.two_classes,
            "vision_clean": table_columns.true_or_false,
            split_column: table_columns.split_names,
            **dict.fromkeys(more, table_columns.text),
            **{name: partial(table_columns.vectors, width=width) for name, width in widths.items()},
        }

    columns = _read(path, readers)
    return {{split_column: "split", finetuned: FINETUNED}.get(name, name): values for name, values in columns.items()}


def read_unlabelled(path: Path, columns: Mapping[str, int], more: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """Columns of a table that needs neither labels nor splits, in order of video and clip, and their ``row``s in it.

    Args:
        columns: of vectors, {name: width}, if the table has them; NaN where it has no vector.
        more: of text, None where it has none.

    Returns:
        These, and ``id`` and ``vision_clean`` if the table has them.
    """
    optional: Readers = {
        "id": table_columns.text_or_number,
        "vision_clean": table_columns.true_or_false,
        **{name: partial(table_columns.vectors_or_nan, width=width) for name, width in columns.items()},
    }

    def readers(found: list[str]) -> Readers:
        there = {name: read for name, read in optional.items() if name in found}
        return {**_PLACE, **dict.fromkeys(more, table_columns.text_or_none), **there}

    return _read(path, readers)


def _read(path: Path, readers_of: Callable[[list[str]], Readers]) -> dict[str, NDArray[Any]]:
    """Columns in order of video and clip, each read as the function says that is given all names that the table has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        found = file.schema_arrow.names
        readers = readers_of(found)
        if absent := [c for c in readers if c not in found]:
            raise UserError(f"{path}: no column {', '.join(absent)}; this is not the table of utterance features")
        if twice := [c for c in readers if found.count(c) > 1]:
            raise UserError(f"{path}: column {', '.join(twice)} is there twice; remove one of them")
        if not 0 < (num_clips := file.metadata.num_rows) <= table_columns.MAX_CLIPS:
            raise UserError(
                f"{path}: the table holds {num_clips or 'no'} clips; 1 to {table_columns.MAX_CLIPS} are read"
            )
        table = file.read(list(readers)).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged or not a parquet file ({one_line(error)})") from error

    columns = {name: read(path, table, name) for name, read in readers.items()}
    order = _in_order(columns["video_id"], columns["clip"])
    columns = {name: values[order] for name, values in columns.items()}
    repeated = (columns["video_id"][1:] == columns["video_id"][:-1]) & (columns["clip"][1:] == columns["clip"][:-1])
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise UserError(f"{path}: clip {columns['clip'][row]} of video {columns['video_id'][row]} appears twice")
    return {**columns, ROW: order}


def write_finetuned(path: Path, output: Path, split: str, features: NDArray[np.float32]) -> None:
    """Write the table at ``path`` with language features [N, 384], ordered as by `read_table`; whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, name = pq.read_table(path), finetuned_column(split)
    rows = np.empty_like(features)
    rows[_in_order(table["video_id"].to_numpy(), table["clip"].to_numpy())] = features
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), features.shape[1])
    if name in table.column_names:
        table = table.drop_columns([name])
    sink = pa.BufferOutputStream()
    pq.write_table(table.append_column(name, column), sink)
    write_whole(output, sink.getvalue().to_pybytes())


def _in_order(video_id: NDArray[Any], clip: NDArray[Any]) -> NDArray[np.int64]:
    """The rows in order of video and clip."""
    return np.lexsort((clip, video_id.astype(str)))

"""What ``timeline.parquet`` holds: one row per run of a stage in a study, or per time one was found in the store."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imer_ray.errors import UserError
from imer_ray.files import write_whole

FILE_NAME = "timeline.parquet"
SCHEMA_VERSION = 1
METADATA_KEY = b"imer_ray_timeline"
RUNNING, LOST = "running", "lost"
STATUSES = ("computed", "found", "stopped", "failed", LOST, RUNNING)

_TIME = pa.timestamp("us", tz="UTC")
COLUMNS: Mapping[str, pa.DataType] = {
    "run": pa.string(),  # unique
    "stage": pa.string(),  # its name: pretrain[l]
    "kind": pa.string(),  # its name without the argument: pretrain
    "key": pa.string(),
    "status": pa.string(),  # see `imer_ray.stages.timeline.StageRun`
    "host": pa.string(),  # empty for what was found
    "node": pa.string(),  # Ray's id of the node
    "executor": pa.string(),  # "inline" or "ray_train", empty for what was found
    "started": _TIME,
    "finished": _TIME,  # of a run that is not over: when it was last heard of
    "seconds": pa.float64(),  # computing time; of what was found, what it took when it was computed
    "epoch": pa.int64(),
    "num_epochs": pa.int64(),
    "waiters": pa.string(),  # who asked for it, JSON list, the first first; a trial is called <study>-<number>
}


def write_timeline(path: Path, rows: Iterable[Mapping[str, Any]], study: str) -> None:
    """Write all runs, ordered by when they began; times are seconds since 1970.

    Raises:
        UserError: the disk is full or forbids it; the file that was there before is untouched.
    """
    ordered = sorted(rows, key=lambda row: (row["started"], row["run"]))
    columns = [pa.array([_cell(row[name], kind) for row in ordered], type=kind) for name, kind in COLUMNS.items()]
    said = json.dumps({"schema_version": SCHEMA_VERSION, "study": study}).encode()
    table = pa.Table.from_arrays(columns, schema=pa.schema(list(COLUMNS.items()), metadata={METADATA_KEY: said}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_whole(path, buffer.getvalue())


def read_timeline(path: Path) -> list[dict[str, Any]]:
    """The rows as `write_timeline` takes them; none if there is no such file.

    Raises:
        UserError: the file is damaged, of a later version, or no timeline.
    """
    try:
        table = pq.read_table(path)
        version = json.loads((table.schema.metadata or {})[METADATA_KEY])["schema_version"]
    except FileNotFoundError:
        return []
    except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged or no timeline ({error}); delete it: nothing else depends on it") from error
    if version > SCHEMA_VERSION:
        raise UserError(f"{path} has schema version {version}, this imer_ray reads up to {SCHEMA_VERSION}")
    rows = table.to_pylist()
    for row in rows:
        row["started"], row["finished"] = row["started"].timestamp(), row["finished"].timestamp()
        row["waiters"] = json.loads(row["waiters"])
    return rows


def _cell(value: Any, kind: pa.DataType) -> Any:
    if kind == _TIME:
        return round(value * 1e6)
    return json.dumps(value) if isinstance(value, list) else value

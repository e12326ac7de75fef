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
from imer_ray.results.reading import read_table, typed
from imer_ray.results.words import json_object

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
    "key": pa.string(),  # hash of all that its result depends on
    "status": pa.string(),  # see `imer_ray.stages.timeline.StageRun`
    "host": pa.string(),  # empty for what was found
    "node": pa.string(),  # Ray's id of the node
    "executor": pa.string(),  # "inline" or "ray_train", empty for what was found
    "started": _TIME,  # when it began, or was found
    "finished": _TIME,  # of a run that is not over: when it was last heard of
    "seconds": pa.float64(),  # computing time; of what was found, what it took when it was computed
    "epoch": pa.int64(),  # how many it had trained when it was last heard of
    "num_epochs": pa.int64(),  # that it wants to train
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
    advice = "delete it: nothing else depends on it"
    try:
        table = read_table(path, advice)
    except FileNotFoundError:
        return []
    try:
        said = json_object((table.schema.metadata or {})[METADATA_KEY].decode(), "what it says of itself")
        version = said["schema_version"]
        if type(version) is not int or version > SCHEMA_VERSION:
            raise ValueError(f"it has schema version {version}, this imer_ray reads up to {SCHEMA_VERSION}")
        rows = typed(table.select(list(COLUMNS)), COLUMNS, lambda name: None).to_pylist()
        for row in rows:
            if lacking := [name for name, value in row.items() if value is None]:
                raise ValueError(f"{lacking[0]} is missing in a row")
            row["started"], row["finished"] = row["started"].timestamp(), row["finished"].timestamp()
            row["waiters"] = _names(row["waiters"])
    except (ValueError, KeyError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"{path} is damaged or no timeline ({reason}); {advice}") from error
    return rows


def _names(text: str) -> list[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"waiters are {text[:40]!r}")
    return names


def _cell(value: Any, kind: pa.DataType) -> Any:
    if kind == _TIME:
        return round(value * 1e6)
    return json.dumps(value) if isinstance(value, list) else value

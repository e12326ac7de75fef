"""Predictions in each format: the same rows, whole or not at all."""

from __future__ import annotations

import csv
import json
import math
import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imer_ray.errors import UserError
from imer_ray.prediction.files.rejected import MAX_LISTED, Rejected
from imer_ray.prediction.files.writer import COLUMNS, check_format, predictions_file
from imer_ray.prediction.predictor import Prediction

FIRST = Prediction(0.5, -0.5, 1.5, 0.75, "lv", ("a",), 0.125, 2, 1.0)
SECOND = Prediction(-1.0, None, None, None, "l", ("a", "v"), None, 0, 1.0)
ROWS = [
    {"id": "x", "value": 0.5, "low": -0.5, "high": 1.5, "probability_positive": 0.75, "available": "lv"}
    | {"recovered": "a", "spread": 0.125, "num_repaired": 2},
    {"id": 'a,"b"\né', "value": -1.0, "low": None, "high": None, "probability_positive": None, "available": "l"}
    | {"recovered": "av", "spread": None, "num_repaired": 0},
]


def write(path: Path) -> None:
    with predictions_file(path) as append:
        append(["x"], [FIRST])
        append([], [])
        append([str(ROWS[1]["id"])], [SECOND])


def test_a_table_has_a_row_a_clip(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.to_pylist() == ROWS
    assert table.schema.field("low").type == pa.float64() and table.schema.field("num_repaired").type == pa.int64()


def test_csv_has_a_row_a_clip(tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    with open(tmp_path / "x.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{name: "" if value is None else str(value) for name, value in row.items()} for row in ROWS]
    assert list(rows[0]) == list(COLUMNS)


def test_json_lines_have_an_object_a_clip(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl")
    assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()] == ROWS


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.jsonl"])
def test_a_file_is_there_whole_or_not_at_all(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("before")
    for error in (UserError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), predictions_file(tmp_path / name) as append:
            append(["x"], [FIRST])
            raise error
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "before"


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.jsonl"])
def test_a_disk_that_holds_no_more_is_told(name: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(UserError, match=f"cannot write .*{name}: file size limit reached"):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
            write(tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x", "x.txt", "x.npz", "csv", "x.parquet.gz"])
def test_a_name_says_the_format(name: str) -> None:
    with pytest.raises(UserError, match=f"output={name}: its name must end in .parquet, .csv, .jsonl"):
        check_format(Path(name))


def test_a_value_that_is_no_number_is_none(tmp_path: Path) -> None:
    with predictions_file(tmp_path / "x.jsonl") as append:
        append(["x"], [Prediction(0.5, math.nan, math.nan, None, "l", (), None, 0, 1.0)])
    assert json.loads((tmp_path / "x.jsonl").read_text())["low"] is None


def test_rows_that_are_left_out_are_counted_and_the_first_are_listed(tmp_path: Path) -> None:
    rejected, path = Rejected(), tmp_path / "x.csv.rejected.csv"
    path.write_text("of an earlier run")
    rejected.write(path)
    assert not path.exists() and rejected.said() == []
    for i in range(MAX_LISTED + 5):
        rejected.add(f"clip{i}", UserError(f"its l has {i} features, not 3"))
    rejected.write(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == MAX_LISTED and rows[7] == {"id": "clip7", "reason": "its l has 7 features, not 3"}
    assert rejected.said() == [f"  clip{i}: its l has {i} features, not 3" for i in range(3)] + ["  and 10002 more"]

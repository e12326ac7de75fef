"""results.parquet: what is written is read, whole or not at all, and a file that is no such thing is named."""

import dataclasses
import functools
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_studies

from imer_ray.errors import UserError
from imer_ray.results import schema
from imer_ray.results.schema import COLUMNS, METADATA_KEY, read_info, read_results
from imer_ray.results.writer import write_results

INFO = small_studies.info()
row = functools.partial(small_studies.row, config='{"a": 1}', finished=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_rows_come_back_in_order_with_their_types(tmp_path):
    path = tmp_path / "results.parquet"
    rows = [row(1, 1, nfe=8.0), row(1), row(0, **{"config.steps": 4, "config.sde": "vp", "valid.l.MAE": 0.5})]
    write_results(path, rows, INFO)
    frame = read_results(path)
    assert list(zip(frame["trial"], frame["point"], strict=True)) == [(0, 0), (1, 0), (1, 1)]
    assert frame["derived_from"].isna().tolist() == [True, True, False]
    assert frame["nfe"].iloc[2] == 8.0
    assert frame["valid.l.MAE"].iloc[0] == 0.5
    assert frame["config.sde"].dropna().tolist() == ["vp"]
    assert set(COLUMNS) <= set(frame.columns)
    assert frame["finished"].iloc[0] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_points_further_seeds_follow_it(tmp_path):
    rows = [row(0, 1, repeat=0), row(0, 0, repeat=2, seed=3), row(0, 0, seed=1), row(0, 0, repeat=1, seed=2)]
    write_results(tmp_path / "results.parquet", rows, INFO)
    frame = read_results(tmp_path / "results.parquet")
    assert list(zip(frame["point"], frame["repeat"].fillna(0), strict=True)) == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_info_travels_in_the_metadata_and_in_the_frame(tmp_path):
    path = tmp_path / "results.parquet"
    write_results(path, [row(0)], INFO)
    assert read_info(path) == INFO
    assert read_info(path).reference == (0.5, 0.0)
    assert [objective.column for objective in INFO.objectives] == ["objective.quality", "objective.speed"]
    assert read_results(path).attrs["info"] == dataclasses.asdict(INFO)


def test_no_rows_are_a_file_too(tmp_path):
    write_results(tmp_path / "results.parquet", [], INFO)
    assert len(read_results(tmp_path / "results.parquet")) == 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([True, None], pa.bool_()),
        ([None, None], pa.string()),
        ([8, "auto"], pa.string()),
        ([[0.5, 2.0], None], pa.string()),
    ],
)
def test_a_configuration_column_takes_the_type_that_its_values_need(tmp_path, values, kind):
    path = tmp_path / "results.parquet"
    write_results(path, [row(i, **{"config.x": value}) for i, value in enumerate(values)], INFO)
    column = pq.read_table(path)["config.x"]
    assert column.type == kind
    for value, found in zip(values, column.to_pylist(), strict=True):
        assert found == value or json.loads(found) == value


def test_a_column_that_is_not_in_the_schema_is_refused(tmp_path):
    with pytest.raises(ValueError, match="speed_of_light"):
        write_results(tmp_path / "results.parquet", [row(0, speed_of_light=1)], INFO)


def test_a_missing_file_says_what_writes_it(tmp_path):
    with pytest.raises(UserError, match="does not exist; a search writes it"):
        read_results(tmp_path / "results.parquet")


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "results.parquet"
    write_results(path, [row(i) for i in range(50)], INFO)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"results\.parquet is damaged"):
        read_results(path)


def test_a_parquet_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"trial": [1]}), path)
    with pytest.raises(UserError, match="not those of a study"):
        read_results(path)


def test_a_later_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "results.parquet"
    with monkeypatch.context() as later:
        later.setattr(schema, "SCHEMA_VERSION", 99)
        write_results(path, [row(0)], INFO)
    with pytest.raises(UserError, match="schema version 99"):
        read_results(path)


def test_metadata_are_plain_json(tmp_path):
    write_results(tmp_path / "results.parquet", [row(0)], INFO)
    metadata = json.loads(pq.read_schema(tmp_path / "results.parquet").metadata[METADATA_KEY])
    assert metadata["schema_version"] == schema.SCHEMA_VERSION
    assert {objective["direction"] for objective in metadata["objectives"]} == {"minimize"}


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.parquet"
    write_results(path, [row(0)], INFO)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imer_ray.files.os.replace", full)
    with pytest.raises(UserError, match="no space left"):
        write_results(path, [row(0), row(1)], INFO)
    assert len(read_results(path)) == 1
    assert list(tmp_path.iterdir()) == [path]

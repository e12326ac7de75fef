"""Each format gives back the clips that were written: names, frames, what is missing; lazily."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_files import (
    READS,
    WRITERS,
    clips,
    padded,
    read,
    same,
    wanted,
    write_parquet,
)

from imer_ray.errors import UserError
from imer_ray.prediction.clip import read_clip
from imer_ray.prediction.files.opening import open_rows


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_clips_that_were_written(name: str, tmp_path: Path) -> None:
    given = clips(300)
    WRITERS[name](tmp_path / name, given)
    found = read(tmp_path / name)
    assert list(found) == list(given)
    assert [id for id in given if not same(found[id], read_clip(given[id], READS))] == []
    with open_rows(tmp_path / name, wanted()) as rows:
        assert rows.num_rows == 300


@pytest.mark.parametrize("name", WRITERS)
def test_only_the_modalities_that_are_wanted_are_read(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, given := clips(6))
    found = read(tmp_path / name, modalities="av")
    for id, raw in given.items():
        assert same(found[id], read_clip({m: raw[m] for m in "av"}, READS))


@pytest.mark.parametrize("name", ["x.parquet", "x.npz", "x.jsonl"])
def test_mmsas_words_do_as_well_and_rows_without_a_name_go_by_their_number(name: str, tmp_path: Path) -> None:
    path, x = tmp_path / name, np.ones((2, 3, 3), np.float32)
    if name == "x.npz":
        np.savez(path, text=x)
    elif name == "x.parquet":
        pq.write_table(pa.table({"text": x.tolist(), "label": [1, 2]}), path)
    else:
        path.write_text("\n".join(json.dumps({"text": one.tolist(), "label": 1}) for one in x))
    found = read(path)
    assert list(found) == (["1", "2"] if name == "x.jsonl" else ["0", "1"])
    assert all(same(clip, read_clip({"l": x[0]}, READS)) for clip in found.values())


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.float32())),
        pa.large_list(pa.list_(pa.float64())),
        pa.list_(pa.list_(pa.float32(), 3)),
        pa.list_(pa.list_(pa.float16())),
        pa.list_(pa.list_(pa.int64())),
    ],
    ids=str,
)
def test_tables_of_any_kind_of_list_are_read(kind: pa.DataType, tmp_path: Path) -> None:
    rows = [[[1, 2, 3], [4, 5, 6]], None, [[7, 8, 9], None, [1, 0, 2]]]
    if kind.value_type.value_type == pa.float16():
        rows = [[[np.float16(x) for x in frame] if frame else None for frame in row] if row else None for row in rows]
    pq.write_table(
        pa.table({"l": pa.array(rows, kind), "a": [[[1.0, 2.0]]] * 3, "id": [7, None, 9]}), tmp_path / "x.pq"
    )
    found = read(tmp_path / "x.pq")
    assert list(found) == ["7", "1", "9"]
    assert found["7"].features["l"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found["1"].available == "a"
    assert found["9"].frames["l"].tolist() == [True, False, True]
    assert found["9"].features["l"][2].tolist() == [1, 0, 2]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 3), pa.list_(pa.float64())], ids=str)
def test_a_vector_a_row_is_a_clip_of_one_frame(kind: pa.DataType, tmp_path: Path) -> None:
    table = pa.table({"l": pa.array([[1, 2, 3], None, [4, 5, None]], kind), "v": pa.nulls(3)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    found = read(tmp_path / "x.parquet")
    assert found["0"].features["l"].tolist() == [[1, 2, 3]]
    assert "nothing of the clip is available" in str(found["1"])
    assert found["2"].num_repaired == 1 and found["2"].features["l"].tolist() == [[4, 5, 0]]


def test_a_table_in_row_groups_slices_and_categories_is_read_whole(tmp_path: Path) -> None:
    given = clips(50)
    write_parquet(tmp_path / "x.parquet", given, row_group_size=7, data_page_size=64)
    table = pq.read_table(tmp_path / "x.parquet")
    pq.write_table(table.set_column(0, "id", table["id"].dictionary_encode()), tmp_path / "y.parquet")
    for name in ("x.parquet", "y.parquet"):
        found = read(tmp_path / name)
        assert all(same(found[id], read_clip(raw, READS)) for id, raw in given.items())


def test_arrays_without_lengths_are_cut_as_convert_cuts_them(tmp_path: Path) -> None:
    x = np.zeros((2, 5, 3), np.float32)
    x[0, 1:4] = 1
    x[0, 2] = 0  # silence
    np.savez_compressed(tmp_path / "x.npz", l=x, a=np.ones((2, 2)))
    found = read(tmp_path / "x.npz")
    assert found["0"].frames["l"].tolist() == [False, True, True, True]
    assert found["1"].available == "a" and found["1"].features["a"].tolist() == [[1, 1]]


def test_a_bad_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = ['{"id": "good", "l": [[1, 2, 3]]}', "{", "3", '{"id": ["x", 1], "l": [[1, 2, 3]]}', "", '{"l": [[1, 2]]}']
    lines += ['{"id": "\\ud800", "l": [[1,2,3]]}', "[" * 100_000, '{"l": [[NaN, Infinity, 1e999]]}', '{"a": null}']
    path.write_text("\n".join(lines))
    found = read(path)
    assert found["good"].available == "l" and list(found)[1:4] == ["line 2", "line 3", "line 4"]
    assert "is no JSON" in str(found["line 2"]) and "must be an object" in str(found["line 3"])
    assert "its id must be text" in str(found["line 4"]) and "its id must be text" in str(found["line 7"])
    assert "frames of 3 features" in str(found["6"]) and "is no JSON" in str(found["line 8"])
    assert "nothing of the clip" in str(found["9"]), "three numbers that are not finite become zeros"
    assert "nothing of the clip" in str(found["10"])


def test_a_line_beyond_all_bounds_is_left_out_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imer_ray.prediction.files.json_lines.MAX_LINE_BYTES", 1000)
    good = b'{"id": "x", "l": [[1, 2, 3]]}\n'
    (tmp_path / "x.jsonl").write_bytes(b'{"l": [' + b"1," * 9_000_000 + b"\n" + good + b'{"l": "' + b"x" * 1000)
    tracemalloc.start()
    found = read(tmp_path / "x.jsonl")
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()
    assert list(found) == ["line 1", "x", "line 3"]
    assert str(found["line 1"]) == "the line has more than 1,000 bytes, which no clip has" == found["line 3"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name != "x.npz" else []) for name in WRITERS]
)
def test_memory_does_not_grow_with_the_file(name: str, tmp_path: Path) -> None:
    """1,000 clips of 1,000 frames, 36 MB in single precision; a table's memory is Arrow's own."""
    frames = np.random.default_rng(0).normal(size=(1_000, 1_000, 9)).astype(np.float32)
    given = {"l": frames[..., :3], "a": frames[..., 3:5], "v": frames[..., 5:]}
    if name == "x.npz":
        np.savez(tmp_path / name, **given)
    elif name == "x.parquet":
        lists = {m: pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[2]) for m, x in given.items()}
        columns = {m: pa.FixedSizeListArray.from_arrays(frame, 1_000) for m, frame in lists.items()}
        pq.write_table(pa.table(columns), tmp_path / name, row_group_size=500, write_batch_size=16)
        del lists, columns
    elif name == "x.pkl":
        words = {"l": "text", "a": "audio", "v": "vision"}
        with open(tmp_path / name, "wb") as file:
            pickle.dump({"test": {words[m]: np.ascontiguousarray(x) for m, x in given.items()}}, file, 4)
    else:
        line = json.dumps({m: x[0].tolist() for m, x in given.items()}) + "\n"
        (tmp_path / name).write_text(line * 50)
    del frames
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    with open_rows(tmp_path / name, wanted()) as rows:
        for count, _ in enumerate(rows.rows, 1):
            if count % 20 == 0:
                most = max(most, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == rows.num_rows == (50 if name == "x.jsonl" else 1_000)
    assert most + peak < (tmp_path / name).stat().st_size / 3


def test_lengths_that_are_no_lengths_are_refused(tmp_path: Path) -> None:
    x, lengths = padded([np.ones((2, 3)), np.ones((3, 3))], 3)
    for wrong in (lengths + 1, -lengths, lengths[:1], lengths.astype(float), lengths[:, None]):
        np.savez(tmp_path / "x.npz", l=x, l_lengths=wrong)
        with pytest.raises(UserError, match="x.npz: l_lengths"):
            read(tmp_path / "x.npz")


def test_silence_at_the_ends_of_the_given_lengths_was_recorded(tmp_path: Path) -> None:
    x = np.zeros((1, 4, 3), np.float32)
    x[0, 1] = 1
    np.savez(tmp_path / "x.npz", l=x, l_lengths=np.array([3]))
    assert read(tmp_path / "x.npz")["0"].frames["l"].tolist() == [True, True, True]

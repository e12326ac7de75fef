"""Files that are damaged or made to harm: one clear sentence, or rows that are left out; never anything else."""

from __future__ import annotations

import io
import math
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_files import WRITERS, clips, read, write_npz

from imer_ray.errors import UserError

NUM_SPOILT = 150


def spoilt(content: bytes, r: random.Random) -> bytes:
    """Cut short, with bytes changed, or with a part of it repeated or left out."""
    whole, at = bytearray(content), r.randrange(len(content))
    size = r.choice([1, 4, 64])
    kind = r.randrange(4)
    if kind == 0:
        return bytes(whole[:at])
    if kind == 1:
        whole[at : at + size] = r.randbytes(size)
    elif kind == 2:
        whole[at:at] = whole[at : at + size]
    else:
        del whole[at : at + size]
    return bytes(whole)


@pytest.mark.parametrize("name", [*WRITERS, "compressed.npz"])
def test_spoilt_files_are_read_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    write = WRITERS.get(name, lambda path, given: write_npz(path, given, np.savez_compressed))
    write(tmp_path / name, clips(12))
    content, r = (tmp_path / name).read_bytes(), random.Random(name)
    refused = 0
    for _ in range(NUM_SPOILT):
        (tmp_path / name).write_bytes(spoilt(content, r))
        try:
            read(tmp_path / name)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 700 and name in str(error)
    assert refused > 10 or name == "x.jsonl"


class Harm:
    def __reduce__(self) -> Any:
        return print, ("harm",)


def test_nothing_pickled_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"test": {"text": Harm()}}))
    np.savez(tmp_path / "x.npz", l=np.array([Harm(), Harm()]))
    np.savez(tmp_path / "y.npz", l=np.ones((1, 3)), id=np.array([Harm()]))
    for name in ("x.pkl", "x.npz", "y.npz"):
        with pytest.raises(UserError, match="refused: the pickle asks for|must hold"):
            read(tmp_path / name)
    assert capsys.readouterr().out == ""


def npz_of(path: Path, shape: tuple[int, ...], dtype: str, content: bytes = b"") -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("l.npy", header.getvalue() + content)


@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [
        ((10**12, 5, 3), "<f4", "ends too early"),
        ((3, 10**9, 3), "<f4", "numbers are read"),
        ((2**62, 2**40, 2**40), "<f4", "numbers are read"),
        ((-1, 5, 3), "<f4", "must hold numbers"),
        ((0, 5, 3), "<f4", "must hold numbers"),
        ((3,), "<f4", "must hold numbers"),
        ((), "<f4", "must hold numbers"),
        ((3, 5, 3), "<U9", "must hold numbers"),
        ((3, 5, 3), "|O", "must hold numbers"),
        ((3, 5, 3), "<c16", "must hold numbers"),
        ((3, 5, 3), "<M8[s]", "must hold numbers"),
    ],
)
def test_arrays_of_absurd_shapes_are_refused(shape: tuple[int, ...], dtype: str, says: str, tmp_path: Path) -> None:
    npz_of(tmp_path / "x.npz", shape, dtype)
    with pytest.raises(UserError, match=says):
        read(tmp_path / "x.npz")


def test_a_bomb_is_read_clip_by_clip(tmp_path: Path) -> None:
    """A megabyte of zeros for each kilobyte; what unfolds is never held."""
    npz_of(tmp_path / "x.npz", (10**15, 1000, 3), "<f4", b"\0" * 50_000_000)
    with pytest.raises(UserError, match="ends too early"):
        read(tmp_path / "x.npz")
    assert (tmp_path / "x.npz").stat().st_size < 100_000


def test_other_arrays_are_refused(tmp_path: Path) -> None:
    for arrays, says in (
        ({"x": np.ones((2, 3))}, r"has no features: they are looked for as l \(or text\).*it has 'x'"),
        ({}, "begins with|has no features"),
        ({"l": np.ones((2, 3)), "a": np.ones((3, 2))}, "each array must hold all clips, and they hold l 2, a 3"),
        ({"l": np.ones((2, 3)), "id": np.ones(2)}, "id must hold text or whole numbers"),
        ({"l": np.ones((2, 3)), "id": np.arange(3)}, "id must hold text or whole numbers, one for each of the 2"),
        ({"l": np.asfortranarray(np.ones((2, 4, 3)))}, "is in Fortran order"),
    ):
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(UserError, match=says):
            read(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", l=np.ones((2, 3)), id=np.array(["x" * 300, "y"]))
    assert "its id must be text of at most 200" in str(read(tmp_path / "x.npz")["0"])


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path, frames = tmp_path / "x.parquet", [[[1.0, 2.0, 3.0]]]
    for table, says in (
        (pa.table({"x": [1]}), r"the table has no features: they are looked for as l \(or text\)"),
        (pa.table({"l": ["words"]}), "column l must hold lists of numbers.*not string"),
        (pa.table({"text": ["words"]}), "column text must hold lists of numbers"),
        (pa.table({"l": [1.0]}), "column l must hold lists of numbers.*not double"),
        (pa.table({"l": [[frames]]}), "column l must hold lists of numbers.*not list"),
        (pa.table({"l": [["a"]]}), "column l must hold lists of numbers"),
        (pa.table({"l": [[True]]}), "column l must hold lists of numbers"),
        (pa.table({"l": frames, "id": [1.5]}), "column id must hold text or whole numbers, not double"),
        (pa.Table.from_arrays([pa.array(frames), pa.array(frames)], ["l", "l"]), "column l is there twice"),
    ):
        pq.write_table(table, path)
        with pytest.raises(UserError, match=says):
            read(path)


def test_a_table_that_unfolds_far_beyond_its_size_is_refused(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32())
    pq.write_table(pa.table({"l": pa.array([np.zeros(20_000_000, np.float32)], kind)}), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    with pytest.raises(UserError, match="row group 0 has 20,000,000 numbers in 1 rows"):
        read(tmp_path / "x.parquet")
    most = math.isqrt(2**22)
    pq.write_table(pa.table({"l": pa.array([np.zeros(3 * most, np.float32)], kind)}), tmp_path / "x.parquet")
    assert "frames of 3 features" in str(read(tmp_path / "x.parquet")["0"])


def test_frames_of_different_widths_are_a_bad_row(tmp_path: Path) -> None:
    rows = [[[1.0, 2.0, 3.0], [1.0, 2.0]], [[1.0, 2.0, 3.0]], [[]], []]
    pq.write_table(pa.table({"l": rows}), tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet")
    assert [isinstance(found[str(i)], str) for i in range(4)] == [True, False, True, True]
    assert "different widths" in str(found["0"])


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ([1], "holds none of the splits train, valid, test"),
        ({"text": np.ones((2, 3, 3))}, "holds none of the splits"),
        ({"test": {}}, "test holds none of text, audio, vision"),
        ({"test": {"text_bert": np.ones((2, 3, 5))}}, "holds text_bert .token numbers. but no text"),
        ({"test": {"text": [1, 2]}}, "test: text must be an array of numbers"),
        ({"test": {"text": np.ones((2, 3))}}, "test: text must be an array of numbers"),
        ({"test": {"text": np.ones((0, 5, 3))}}, "shape .0, 5, 3., which does not fit 1 clips"),
        ({"test": {"text": np.ones((2**40, 0, 3), "u1")}}, "which does not fit 1 clips"),
        ({"test": {"text": np.ones((2, 5, 3)), "audio": np.ones((3, 5, 2))}}, "which does not fit 2 clips"),
        ({"test": {"text": np.ones((2, 5, 3)), "id": ["x"]}}, "id names 1 of 2 clips"),
        ({"test": {"text": np.ones((2, 5, 3)), "text_lengths": [1.5, 2]}}, "text_lengths must give a whole number"),
    ],
)
def test_other_pickles_are_refused(tree: Any, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(UserError, match=says):
        read(tmp_path / "x.pkl")

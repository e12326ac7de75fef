"""Which reader a file is given to, and what is said of files that none is for."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from clip_files import WRITERS, clips

from imer_ray.errors import UserError
from imer_ray.prediction.files.opening import format_of


@pytest.mark.parametrize(("name", "suffix"), [("x.parquet", ".pq"), ("x.pkl", ".pickle"), ("x.jsonl", ".ndjson")])
def test_the_content_tells_the_format_and_the_name_need_not(name: str, suffix: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, clips(3))
    content, kinds = (tmp_path / name).read_bytes(), set()
    for other in (name, f"x{suffix}", f"x{suffix.upper()}", "x", "x.data"):
        (tmp_path / other).write_bytes(content)
        kinds.add(format_of(tmp_path / other).name)
    assert len(kinds) == 1
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbf\n " + content)
    if name == "x.jsonl":
        assert format_of(tmp_path / "bom").name == "JSON lines"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.npz", b"PAR1rest", r"begins like a parquet table, unlike its name; call it \*\.parquet if it is that"),
        ("x.jsonl", b"PK\x03\x04", "begins like an archive of numpy's arrays"),
        ("x.parquet", b'{"l": 1}', "begins like JSON lines"),
        ("x.jsonl", b"", "the file is empty"),
        ("x.jsonl", b'[{"l": 1}]', "is one list; JSON lines are needed"),
        ("x.csv", b"id,l\n1,2", "begins with b'id,l.*as nothing does that is read: a parquet table .*npz.*jsonl.*pkl"),
        ("x.npy", b"\x93NUMPY", r"this is a numpy file, where one of a parquet table \(.parquet\), .* is needed"),
        ("x.pkl", gzip.compress(b"x", mtime=0), "this is a gzip archive; unpack it"),
        ("x.parquet", b"<!DOCTYPE html>", "this is a web page"),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1", "this is a pointer of Git LFS"),
        ("x.pkl", b"(dp0\n.", "this is a pickle of protocol 0 or 1"),
        ("x.pkl", b"\x80\x09.", "begins with"),
    ],
)
def test_what_is_no_such_file_is_told_apart(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"^input=.*{name}.* {says}"):
        format_of(tmp_path / name)


def test_json_lines_whose_first_is_wrong_are_json_lines(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('null\n{"l": [[1, 2, 3]]}')
    assert format_of(tmp_path / "x.jsonl").name == "JSON lines"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips.parquet").touch()
    with pytest.raises(UserError, match=r"clip\.parquet: no such file; did you mean .*clips\.parquet\?"):
        format_of(tmp_path / "clip.parquet")
    assert format_of(tmp_path).name == "a clip's own files"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a named pipe"):
        format_of(tmp_path / "pipe")

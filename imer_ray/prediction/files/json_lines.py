"""Clips as JSON lines: an object a line, ``{"id": "x", "l": [[0.1, ...], ...], "a": null}``."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from imer_ray.data.mmsa import KEYS
from imer_ray.errors import UserError
from imer_ray.prediction.files.rows import ID, Row, Rows, Wanted, id_of
from imer_ray.received import one_line, shown

MAX_LINE_BYTES = 2**24  # of a clip: a list of empty lists takes some twenty times as much when it is read
_BLOCK = 2**20


@contextmanager
def read(path: Path, wanted: Wanted) -> Iterator[Rows]:
    """The objects of a file; one without ``id`` goes by its line, from 1. Empty lines are passed over."""
    with open(path, "rb") as file:
        count = _num_lines(file)
        file.seek(len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0)
        yield Rows(count, _rows(file, wanted))


def _num_lines(file: BinaryIO) -> int:
    file.seek(0)
    count, last = 0, b"\n"
    while block := file.read(_BLOCK):
        count, last = count + block.count(b"\n"), block[-1:]
    file.seek(0)
    return count + (last != b"\n")


def _rows(file: BinaryIO, wanted: Wanted) -> Iterator[Row]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            _skip_line(file, line)
            yield f"line {number}", UserError(f"the line has more than {MAX_LINE_BYTES:,} bytes, which no clip has")
        elif line.strip():
            yield _row(line, number, wanted)


def _skip_line(file: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(_BLOCK)


def _row(line: bytes, number: int, wanted: Wanted) -> Row:
    try:
        found = _object(line)
        return id_of(found.get(ID), number), _features(found, wanted.modalities)
    except UserError as error:
        return f"line {number}", error


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"the line is no JSON: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise UserError(f'the line must be an object such as {{"id": "x", "l": [[0.1]]}}, not {shown(found)}')
    return found


def _features(found: dict[str, Any], modalities: str) -> dict[str, Any]:
    return {m: found.get(m, found.get(KEYS[m])) for m in modalities}

"""Which reader is for what lies at a path: a clip's own files are told by their names, files of many clips by their
first bytes, which the name must not contradict."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from imer_ray.data.file_kinds import other_kind
from imer_ray.errors import UserError
from imer_ray.files import similar
from imer_ray.prediction.files import json_lines, mmsa, npz, own_files, parquet
from imer_ray.prediction.files.rows import Rows, Wanted
from imer_ray.received import check_file, shown

_HEAD_BYTES = 64


@dataclass(frozen=True)
class Format:
    """A format that is read.

    Attributes:
        name: in an error's words.
        suffixes: that its files have.
        beginnings: of its files.
        read: its reader.
    """

    name: str
    suffixes: tuple[str, ...]
    beginnings: tuple[bytes, ...]
    read: Callable[[Path, Wanted], AbstractContextManager[Rows]]


_JSON_LINES = Format("JSON lines", (".jsonl", ".ndjson", ".json"), (b"{",), json_lines.read)
FORMATS = (
    Format("a parquet table", (".parquet", ".pq"), (b"PAR1",), parquet.read),
    Format("an archive of numpy's arrays", (".npz",), (b"PK\x03\x04",), npz.read),
    _JSON_LINES,
    Format("a pickle of MMSA", (".pkl", ".pickle"), tuple(b"\x80" + bytes([n]) for n in range(2, 6)), mmsa.read),
)
_OWN_FILES = Format("a clip's own files", (), (), own_files.read)
KINDS = ", ".join(f"{one.name} ({one.suffixes[0]})" for one in FORMATS)


def open_rows(path: Path, wanted: Wanted) -> AbstractContextManager[Rows]:
    """The clips of what lies at ``path``.

    Raises:
        UserError: there is nothing that can be read.
    """
    return format_of(path).read(path, wanted)


def format_of(path: Path) -> Format:
    """The format of a file, or of a folder.

    Raises:
        UserError: there is no such file, or it is of none that is read.
    """
    if own_files.are_at(path):
        return _OWN_FILES
    name = f"input={path}"
    check_file(path, name, f"no such file{similar(path)}")
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    found = next((one for one in FORMATS if head.startswith(one.beginnings) or text.startswith(one.beginnings)), None)
    named = next((one for one in FORMATS if path.suffix.lower() in one.suffixes), None)
    if found is not None and named in (None, found):
        return found
    if found is not None:
        raise UserError(f"{name} begins like {found.name}, unlike its name; call it *{found.suffixes[0]} if it is that")
    if said := other_kind(head, path.stat().st_size, f"one of {KINDS}"):
        raise UserError(f"{name}: {said}")
    if text.startswith(b"["):
        raise UserError(f"{name} is one list; JSON lines are needed, an object a line without brackets around them")
    if named is not _JSON_LINES:
        raise UserError(f"{name} begins with {shown(head[:8])}, as nothing does that is read: {KINDS}")
    return _JSON_LINES  # whose first line is wrong

"""Files that somebody else may have made: read within bounds, or refused in one sentence that names the file."""

from __future__ import annotations

import copy
import errno
import functools
import json
import os
import reprlib
import stat
from pathlib import Path
from typing import Any

import yaml

from imer_ray.errors import UserError

MAX_INT = 2**63 - 1  # what a column of whole numbers holds
MAX_BYTES = 2**18  # of a settings file: ours take a few KiB, and YAML of this size is read in a few seconds
SMALL_BYTES = 2**16  # of YAML that is remembered by its content
MAX_DEPTH = 32  # of sections within sections; a configuration has four
MAX_TEXT = 4096  # characters of a setting: no path is longer
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
_MALFORMED = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 80


def shown(value: Any) -> str:
    """A value for a message: one short line without control characters, whatever it holds."""
    return " ".join(_shortened.repr(value).split())


def is_plain(text: str) -> bool:
    """Whether a text can be a file's name and be printed; undecodable bytes of a name can, as Python holds them."""
    controls = any(character < " " or "\x7f" <= character < "\xa0" for character in text)
    surrogates = any("\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff" for character in text)
    return len(text) <= MAX_TEXT and not controls and not surrogates


def plain(key: Any) -> str:
    """A key for a message: as it stands, if it is short plain text."""
    return key if isinstance(key, str) and len(key) <= 80 and is_plain(key) else shown(key)


def check_file(path: Path, name: str | None = None, absent: str | None = None) -> None:
    """Refuse what is no ordinary file that may be read: reading a pipe or a device may never end.

    Args:
        name: what the file is called in messages; its path by default.
        absent: what to say if there is none.

    Raises:
        FileNotFoundError: there is nothing, and ``absent`` is not given.
        UserError: there is nothing, it is something else, or may not be read.
    """
    name = str(path) if name is None else name
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if absent is not None:
            raise UserError(f"{name}: {absent}") from error
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error
    if not stat.S_ISREG(mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "a device")
        raise UserError(f"{name} is {kind}, where a file is needed")
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> UserError:
    """What is said where the system refuses to read."""
    reason = str(getattr(error, "strerror", None) or error).lower()
    advice = "; ask its owner for the right to read it" if isinstance(error, PermissionError) else ""
    return UserError(f"{name} cannot be read: {reason}{advice}")


def one_line(words: object) -> str:
    """What a library says about a file, fit for a sentence of a `UserError`: short, and without line ends."""
    return " ".join(str(words).split())[:200]


def check_inside(path: Path, folder: Path, advice: str) -> None:
    """Refuse what lies in a folder by name alone.

    Args:
        advice: what to do about it.

    Raises:
        UserError: the path is a link that leads out of the folder.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path} is a link that leads out of the folder, where a model's own file is needed; {advice}")


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of an ordinary file of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: there is nothing.
        UserError: it is no file, is larger, or may not be read.
    """
    check_file(path)
    try:
        # Should a pipe have taken the file's place since, it is read as empty instead of waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise unreadable(str(path), error) from error
    if len(content) > limit:
        raise UserError(f"{path} has more than {limit:,} bytes, which no file of its kind has")
    return content


@functools.lru_cache(maxsize=16)
def _small_yaml(content: bytes) -> Any:
    """What YAML holds: a model's configuration is looked at several times on the way to its weights."""
    return yaml.load(content, _PlainLoader)


def read_yaml(path: Path) -> Any:
    """What a YAML file of plain values holds.

    Raises:
        FileNotFoundError: there is nothing.
        UserError: it is no file, too large, or no YAML of plain values.
    """
    content = read_bytes(path)
    try:
        return copy.deepcopy(_small_yaml(content)) if len(content) <= SMALL_BYTES else yaml.load(content, _PlainLoader)
    except _MALFORMED as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        what = str(getattr(error, "problem", None) or error)
        raise UserError(f"{path} is damaged or no YAML of plain values{where}: {one_line(what)}") from error


def read_json(path: Path, limit: int = MAX_BYTES) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: there is nothing.
        UserError: it is no file, too large, or no JSON.
    """
    content = read_bytes(path, limit)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged or no JSON: {one_line(str(error))}") from error


class _PlainLoader(yaml.SafeLoader):
    """Neither merges, which can grow without bound, nor deep nesting, nor numbers that no setting has."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.depth == MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"more than {MAX_DEPTH} levels", problem_mark=self.peek_event().start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: Any) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem="a merge key (<<)", problem_mark=key.start_mark)
        super().flatten_mapping(node)

    def construct_yaml_int(self, node: Any) -> int:
        text = self.construct_scalar(node)
        value = super().construct_yaml_int(node) if len(text) <= 100 else MAX_INT + 1
        if abs(value) > MAX_INT:
            raise yaml.MarkedYAMLError(problem="a whole number beyond 64 bits", problem_mark=node.start_mark)
        return value


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def shortened(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."

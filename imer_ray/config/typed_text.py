"""What people type after ``key=``: text, which the annotation of its setting says how to read.

``007`` is a name where a text is asked for and 7 where a whole number is. A text is taken as it stands, without any
grammar; quotes around the whole of it are left out. Lists are ``[a, 'b, c']`` or ``a,b``, mappings ``{a: 1, b: 2}``.
"""

from __future__ import annotations

import os
import re
from collections import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, get_args

from imer_ray.errors import UserError
from imer_ray.received import shortened

QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
ESCAPED = re.compile(r"\\([\\()\[\]{}:=,\s])")
MAX_SETTING = 2**53  # of a whole number, such as a seed: up to here every reader of JSON keeps them exact
MAX_PATH, MAX_NAME = 4095, 255  # bytes that Linux's file systems take

FilePath = Annotated[str, "path"]
"""A file or folder, or a URI: text, in which ``~`` at the beginning stands for the home folder."""


class Typed(str):
    """Text of the command line, not read yet."""


def pair(override: str) -> tuple[str, Typed]:
    """``key=value`` in two; whatever follows the first ``=`` is the value."""
    key, separator, value = override.partition("=")
    if not separator or not key or key[0] in "~+":
        raise UserError(f"cannot read {override!r}: write key=value, for example study.num_trials=48")
    if key.endswith("._target_"):
        raise UserError(f"{key} cannot be set: choose a component by its name, for example diffusion.sampler=heun")
    return key, Typed(value)


def read(text: Typed, kinds: Sequence[Any]) -> Any:
    """What a text means as the first of ``kinds`` that it can be; itself if it can be none of them."""
    if type(None) in kinds and text.lower() == "null":
        return None
    for kind in kinds:
        origin = getattr(kind, "__origin__", kind)
        if origin is tuple:
            return words(text, of_paths=get_args(kind)[0] == FilePath)
        if origin is abc.Mapping and (found := mapping(text)) is not None:
            return found
        if origin is bool and text.strip().lower() in ("true", "false"):
            return text.strip().lower() == "true"
        if origin in (int, float) and (number := _number(text)) is not None:
            return number
        if origin is str:
            return unquoted(text)
    return str(text)


def unquoted(text: str) -> str:
    """A text without the quotes around the whole of it, if there are any."""
    found = QUOTED.fullmatch(text.strip())
    return re.sub(rf"\\({found[1]})", r"\1", found[2]) if found else str(text)


def words(text: str, of_paths: bool = False) -> list[Typed]:
    """The elements of ``[a, 'b, c']`` or ``a,b``; a file or folder of that whole name is one element."""
    if of_paths and os.path.lexists(expanded(unquoted(text))):
        return [Typed(text)]
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    elif len(_parts(bare, ",")) == 1:
        return [Typed(text)] if text else []
    return _elements(bare)


def mapping(text: str) -> dict[str, Typed] | None:
    """``{a: 1, b: 2}``, or None if it is something else."""
    bare = text.strip()
    if not (bare.startswith("{") and bare.endswith("}")):
        return None
    found = {}
    for entry in _elements(bare[1:-1]):
        key, *value = _parts(entry, ":")
        if not value:
            return None
        found[unquoted(key.strip())] = Typed(":".join(value).strip())
    return found


def nest(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """``{dotted path: value}`` as a tree; of two values for one path the later counts."""
    tree: dict[str, Any] = {}
    for path, value in pairs:
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        node[last] = value
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The tree's values by their dotted paths, in its order."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def file_path(text: str, setting: str) -> str:
    """A path as the file system takes it: ``~`` at its beginning stands for the home folder.

    Raises:
        UserError: nothing can have this name.
    """
    if not text:
        raise UserError(f"{setting}= is empty: give a path, or leave it out")
    try:
        sizes = [len(os.fsencode(part)) for part in text.split("/")]
    except UnicodeEncodeError:
        sizes = []
    if not sizes or "\0" in text:
        raise UserError(f"{setting}={shortened(repr(text))}: no file can have this name")
    path = expanded(text)
    if len(os.fsencode(path)) > MAX_PATH or max(sizes) > MAX_NAME:
        raise UserError(f"{setting}={shortened(text)}: a path may have {MAX_PATH} bytes and each name in it {MAX_NAME}")
    return path


def expanded(path: str) -> str:
    """``~`` and ``~user`` at a path's beginning replaced by the home folder, where it is known."""
    return os.path.expanduser(path)


def _number(text: str) -> int | float | None:
    for read_as in (int, float):  # a whole number beyond all floats is refused as such
        try:
            return read_as(text)
        except ValueError:
            continue
    return None


def _elements(text: str) -> list[Typed]:
    parts = [part.strip() for part in _parts(text, ",")]
    if not parts[-1]:  # of an empty list, or after a last comma
        parts.pop()
    return [Typed(part if QUOTED.fullmatch(part) else ESCAPED.sub(r"\1", part)) for part in parts]


def _parts(text: str, separator: str) -> list[str]:
    """A text split at separators that are neither quoted, nor escaped, nor within brackets."""
    parts, start, depth, at = [], 0, 0, 0
    opens = True  # whether a quote here begins a quoted text
    while at < len(text):
        character = text[at]
        if opens and (quoted := QUOTED.match(text, at)):
            at, opens = quoted.end(), False
            continue
        if character == "\\":
            at, opens = at + 2, False
            continue
        if character == separator and not depth:
            parts.append(text[start:at])
            start = at + 1
        depth = max(0, depth + (character in "[{") - (character in "]}"))
        opens = character in "[{,:" or (opens and character.isspace())
        at += 1
    return [*parts, text[start:]]

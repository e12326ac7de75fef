"""Which code is running: what other code has worked out may be noted, and is then not taken over."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

from imer_ray.config import plugins
from imer_ray.config.plugin_options import OURS

SOURCES = (".py", ".yaml")


def stamp() -> str | None:
    """The same for the same code of ours; None with plugins, whose code may lie anywhere."""
    return None if plugins.active() else _ours()


def digest(package: Traversable) -> str:
    """A hash of the sources below a folder, and of where they lie in it."""
    found = hashlib.blake2b(digest_size=8)
    for path, file in sorted(_sources(package, ""), key=lambda source: source[0]):
        content = file.read_bytes()
        found.update(f"{path} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


@functools.cache
def _ours() -> str:
    return digest(resources.files(OURS))


def _sources(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _sources(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(SOURCES):
            yield prefix + entry.name, entry

"""Configurations as nested dicts: read, changed and spread out by dotted paths. A component's node has ``_target_``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def get(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; a component reads as its name."""
    value: Any = tree
    for part in path.split("."):
        value = value[part]
    return value["name"] if isinstance(value, Mapping) and "_target_" in value else value


def replace(tree: Mapping[str, Any], changes: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a resolved tree with values at dotted paths changed.

    ``components`` maps a component's path to ``{option name: node with defaults}`` (see `component_options`), so that
    this needs neither torch nor files. Components are changed before the settings inside them.
    """
    new: dict[str, Any] = _copied(dict(tree))
    for path in sorted(changes, key=lambda p: p.count(".")):
        *parents, last = path.split(".")
        node = new
        for part in parents:
            node = node[part]
        value = changes[path]
        node[last] = _copied(components[path][value]) if path in components else value
    return new


def _copied(value: Any) -> Any:
    """A deep copy of plain values, many times as fast as `copy.deepcopy`: every proposal of a search asks for some."""
    if type(value) is dict:
        return {key: _copied(inner) for key, inner in value.items()}
    if type(value) is list:
        return [_copied(inner) for inner in value]
    return value if isinstance(value, (str, int, float)) else copy.deepcopy(value)


def merge(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``tree`` with nested changes; a component may be given by name alone, and then has its own defaults."""
    new = dict(tree)
    for key, value in changes.items():
        inner = new.get(key)
        new[key] = merge(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return new


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{dotted path: value}``; a component appears under its own path with its name, beside its settings."""
    flat: dict[str, Any] = {}
    _spread(tree, prefix, flat)
    return flat


def _spread(tree: Mapping[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    for key, value in tree.items():
        path = prefix + key
        # The class first: thousands of rows are spread out at once, and asking a Mapping is slow.
        if not (type(value) is dict or isinstance(value, Mapping)):
            flat[path] = value
        elif "_target_" in value:
            flat[path] = value["name"]
            settings = {name: inner for name, inner in value.items() if name not in ("name", "_target_")}
            _spread(settings, f"{path}.", flat)
        else:
            _spread(value, f"{path}.", flat)

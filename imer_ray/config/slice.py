"""What a stage reads of a configuration, as a type: picked from the whole, written as a tree of JSON values, read back.

Whatever is declared is part of the stage's key, and the stage's function is given nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, Self, get_args

from imer_ray.config.components import Component, hints, tupled
from imer_ray.config.resolve import tree_of, typed


def at(path: str, **given: Any) -> Any:
    """A field that lies at another dotted path of the configuration, and of the tree, than its name."""
    return field(metadata={"path": path}, **given)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Some settings of a configuration or of one of its sections, under the names that they have there.

    A field is a plain value, a `Component`, a section of the configuration, or a slice of a section. One that is None
    by default is read only where it is given, and is not part of the tree where it is not.
    """

    @classmethod
    def of(cls, config: Any, **given: Any) -> Self:
        """Pick the fields from a typed configuration; what is ``given`` is not looked for there."""
        picked = dict(given)
        for f in fields(cls):
            if f.name not in given and f.default is MISSING:
                value = config
                for name in _path(f):
                    value = getattr(value, name)
                kind = _kind(cls, f)
                picked[f.name] = kind.of(value) if _is_slice(kind) else value
        return cls(**picked)

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Self:
        """The slice that a tree holds."""
        values = {}
        for f in fields(cls):
            *parents, last = _path(f)
            node: Any = tree
            for name in parents:
                node = node.get(name, {})
            if last in node:
                values[f.name] = _read(node[last], _kind(cls, f))
        return cls(**values)

    @property
    def tree(self) -> dict[str, Any]:
        """As nested JSON values, each at its path in the configuration."""
        tree: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None and f.default is None:
                continue
            *parents, last = _path(f)
            node = tree
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = _plain(value)
        return tree


def _path(f: Field[Any]) -> list[str]:
    path: str = f.metadata.get("path", f.name)
    return path.split(".")


def _kind(cls: type, f: Field[Any]) -> Any:
    """The type of a field, but for None."""
    hint = hints(cls)[f.name]
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint) if _is_optional(hint) else hint


def _is_optional(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _is_slice(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Slice)


def _read(value: Any, kind: Any) -> Any:
    if kind is Component:
        return Component.of(value)
    if _is_slice(kind):
        return kind.read(value)
    return typed(value, kind) if isinstance(kind, type) and is_dataclass(kind) else tupled(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return value.node
    if isinstance(value, Slice):
        return value.tree
    if is_dataclass(value):
        return tree_of(value)
    return list(value) if isinstance(value, tuple) else value

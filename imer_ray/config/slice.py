"""What a stage reads of a configuration, as a type: picked from the whole, written as a tree of JSON values, read back.

Whatever is declared is part of the stage's key, and the stage's function is given nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Self, cast, get_args

from imer_ray.config.components import Component, hints, tupled
from imer_ray.config.resolve import later_settings, tree_of, typed


def at(path: str, **given: Any) -> Any:
    """A field that lies at another dotted path of the configuration, and of the tree, than its name."""
    return field(metadata={"path": path}, **given)


def unless_none() -> Any:
    """A component that is read unless it is the option ``none``, and then is None, which leaves it out of the tree."""
    return field(default=None, metadata={"unless": "none"})


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
        for f in _declared(cast(type, cls)):
            if f.name not in given and (f.unless is not None or not f.is_optional):
                value = config
                for name in (*f.parents, f.last):
                    value = getattr(value, name)
                if f.unless is None or value.name != f.unless:
                    picked[f.name] = f.kind.of(value) if f.is_slice else value
        return cls(**picked)

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Self:
        """The slice that a tree holds."""
        values = {}
        for f in _declared(cast(type, cls)):
            node: Any = tree
            for name in f.parents:
                node = node.get(name, {})
            if f.last in node:
                values[f.name] = _read(node[f.last], f.kind)
        return cls(**values)

    @property
    def tree(self) -> dict[str, Any]:
        """As nested JSON values, each at its path in the configuration."""
        tree: dict[str, Any] = {}
        for f in _declared(cast(type, type(self))):
            value = getattr(self, f.name)
            if value is None and f.is_optional:
                continue
            node = tree
            for name in f.parents:
                node = node.setdefault(name, {})
            node[f.last] = _plain(value)
        return tree


@dataclass(frozen=True)
class _Declared:
    """A field of a slice: where it lies in the configuration, and of which type it is, but for None."""

    name: str
    parents: tuple[str, ...]
    last: str
    kind: Any
    is_slice: bool
    is_optional: bool
    unless: str | None


@functools.cache
def _declared(cls: type) -> tuple[_Declared, ...]:
    """Worked out once: a search makes the slices of every proposal."""
    found = []
    for f in fields(cls):
        *parents, last = f.metadata.get("path", f.name).split(".")
        hint = hints(cls)[f.name]
        kind = next((kind for kind in get_args(hint) if kind is not type(None)), hint) if _is_optional(hint) else hint
        unless = f.metadata.get("unless")
        found.append(_Declared(f.name, tuple(parents), last, kind, _is_slice(kind), f.default is None, unless))
    return tuple(found)


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
        later = later_settings(cast(type, type(value)))
        return {name: inner for name, inner in tree_of(value).items() if name not in later or inner != later[name]}
    return list(value) if isinstance(value, tuple) else value

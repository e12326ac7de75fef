"""Components and the checking of configurations: what the schema allows, and nothing else is ever built.

A *component* (SDE, sampler, backbone, data set, ...) is a node ``{"name": ..., "_target_": ..., **fields}`` whose
``_target_`` is a frozen dataclass; the fields' defaults and range checks live in that class, once. Which classes there
are, the YAML files in ``conf/<group>/`` say.
"""

from __future__ import annotations

import functools
import sys
from collections import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from importlib import resources
from importlib.resources.abc import Traversable
from types import UnionType
from typing import Any, get_args, get_type_hints

from imer_ray.config import plugins
from imer_ray.config.plugin_options import PRESETS
from imer_ray.config.plugins import CONF_MODULE
from imer_ray.config.tree import merge
from imer_ray.config.typed_text import MAX_SETTING, FilePath, Typed, file_path, read, unquoted
from imer_ray.errors import UserError, hint
from imer_ray.received import is_plain, plain, shortened, shown


@dataclass(frozen=True, kw_only=True)
class Component:
    """A choice from a component group, with all its settings: ``build`` makes the object that it describes.

    Attributes:
        name: of the option.
        target: dotted path of its class.
        settings: the class's fields as plain values (lists for tuples).
    """

    name: str
    target: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Component:
        """From its node in a configuration tree."""
        settings = {key: value for key, value in node.items() if key not in ("name", "_target_")}
        return cls(name=node["name"], target=node["_target_"], settings=settings)

    @property
    def node(self) -> dict[str, Any]:
        """As it stands in a configuration tree."""
        return {"name": self.name, "_target_": self.target, **self.settings}

    def build(self) -> Any:
        """The object that it describes.

        Raises:
            UserError: it is no registered component.
        """
        return build(self.node)


def option_name(value: Any, group: str, path: str) -> str:
    """The option of a group that a text names."""
    name = unquoted(value) if isinstance(value, str) else str(value)
    if name not in (known := options(group)):
        raise UserError(f"{path}={shortened(name)}: {unknown(name, known)}")
    return name


def options(group: str) -> list[str]:
    """The options of a component group: the YAML files in ``conf/<group>/``, ours and those of plugins."""
    entries = (entry for folder in _group_folders(group) for entry in folder.iterdir())
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".yaml"))


def _group_folders(group: str) -> Iterator[Traversable]:
    for conf in (resources.files(CONF_MODULE), *(folder for _, folder in plugins.parts(plugins.CONF))):
        if (folder := conf.joinpath(*group.split("/"))).is_dir():
            yield folder


@plugins.until_next
@functools.cache
def targets(group: str) -> dict[str, str]:
    """The registered components of a group, ``{name: _target_}``: what its option files name."""
    nodes = {name: read_option(group, name) for name in options(group)}
    return {name: node.get(group, node)["_target_"] for name, node in nodes.items()}


@plugins.until_next
@functools.cache
def _registered() -> frozenset[tuple[str, str]]:
    """(name, ``_target_``) of every component of every group."""

    def groups(folder: Any, prefix: str) -> Iterator[str]:
        for entry in folder.iterdir():
            if entry.is_dir() and entry.name not in (PRESETS, "__pycache__"):
                yield from groups(entry, f"{prefix}{entry.name}/")
            elif prefix and entry.name.endswith(".yaml"):
                yield prefix[:-1]

    return frozenset(pair for group in groups(resources.files(CONF_MODULE), "") for pair in targets(group).items())


@plugins.until_next
@functools.cache
def read_option(group: str, name: str) -> dict[str, Any]:
    import yaml

    files = (folder.joinpath(f"{name}.yaml") for folder in _group_folders(group))
    node: dict[str, Any] = yaml.safe_load(next(file for file in files if file.is_file()).read_text(encoding="utf-8"))
    return node


def option(group: str, name: str) -> dict[str, Any]:
    """One component with all its defaults: ``{"name": name, "_target_": ..., **fields}``."""
    if name not in (known := options(group)):
        raise UserError(f"{group}: {unknown(name, known)}")
    node = read_option(group, name)
    return resolve_component(node.get(group, node), group, group.replace("/", "."))


def with_changes(node: Mapping[str, Any], changes: Mapping[str, Any], group: str) -> dict[str, Any]:
    """A component with settings changed; one that ``changes`` names begins with its own defaults."""
    path, rest = group.replace("/", "."), {key: value for key, value in changes.items() if key != "name"}
    start = option(group, option_name(changes["name"], group, path)) if "name" in changes else node
    return resolve_component(merge(start, rest), group, path)


def build(node: Mapping[str, Any]) -> Any:
    """Instantiate a component from its node; its class checks the ranges.

    Raises:
        UserError: the node names no registered component (a name may be left out).
    """
    cls = _class_of(node, _registered(), "_target_")
    return cls(**{k: tupled(v) for k, v in node.items() if k not in ("name", "_target_")})


def _class_of(node: Mapping[str, Any], registered: Collection[tuple[str, str]], path: str) -> type:
    """The class of a component's node. Nothing but what is ``registered`` is ever imported or called.

    Raises:
        UserError: the node names anything else.
    """
    target, name = node.get("_target_"), node.get("name")
    named = isinstance(target, str) and isinstance(name, str) and (name, target) in registered
    if not named and not any(target == known and name in (None, option) for option, known in registered):
        names = ", ".join(sorted({option for option, known in registered if known == target}))
        belongs = f"is {names}, not {shown(name)}" if names else "is not (or no longer) a component that can stand here"
        raise UserError(f"{path}: {shown(target)} {belongs}{plugins.advice(target)}")
    module, _, found = str(target).rpartition(".")
    cls: type = plugins.attribute(module, found)
    return cls


@functools.cache
def hints(schema: type) -> dict[str, Any]:
    """Worked out once: a search resolves a configuration for every proposal."""
    return get_type_hints(schema, include_extras=True)


def resolve_component(node: Any, group: str, path: str) -> dict[str, Any]:
    """A component of ``group`` with every default filled in and every setting checked; ``path`` is for messages.

    Raises:
        UserError: it is none of the group's options, or a setting is unknown or out of range.
    """
    if isinstance(node, str):
        return option(group, node)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{path}: choose one of {', '.join(options(group))}")
    cls = _class_of(node, targets(group).items(), path)
    annotations, known = hints(cls), {f.name: f for f in fields(cls)}
    name = node.get("name") or next(name for name, target in targets(group).items() if target == node["_target_"])
    out: dict[str, Any] = {"name": name, "_target_": node["_target_"]}
    for key in node:
        if key not in known and key not in out:
            raise UserError(f"{path}.{plain(key)}: {unknown(str(key), known)} ({path} is {name})")
    for setting, f in known.items():
        default = None if f.default is MISSING else f.default
        out[setting] = checked(node.get(setting, default), annotations[setting], f"{path}.{setting}")
    try:
        build(out)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{path}={name}: {error}") from error
    return out


def _kinds(hint: Any) -> tuple[Any, ...]:
    """What an annotation allows, one by one."""
    if type(hint) is type:  # looked at first, as most are; what a union allows has an order, which its hash forgets
        return (hint,)
    inner = get_args(hint)
    return inner if isinstance(hint, UnionType) or type(None) in inner else (hint,)


def checked(value: Any, hint: Any, path: str) -> Any:
    """Check one plain value against its annotation; an int becomes a float where one is asked for, a text a list."""
    if type(value) is hint and hint in (bool, float):  # most settings
        return value
    allowed = _kinds(hint)
    if isinstance(value, Typed):
        value = read(value, allowed)
    if value is None and type(None) in allowed:
        return None
    for kind in allowed:
        origin = getattr(kind, "__origin__", kind)
        if origin is tuple and isinstance(value, (list, tuple)):
            return [checked(v, get_args(kind)[0], path) for v in value]
        if origin is tuple and isinstance(value, str):
            return [checked(value, get_args(kind)[0], path)]
        if origin is abc.Mapping and isinstance(value, Mapping):
            inner = get_args(kind)[1]
            return {str(key): checked(v, inner, f"{path}.{plain(key)}") for key, v in value.items()}
        if kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        most = MAX_SETTING if kind is int else sys.float_info.max
        if kind in (int, float) and isinstance(value, int) and abs(value) > most:
            raise UserError(f"{path} must lie between -{most} and {most}, not at {str(value)[:40]}")
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if kind in (int, bool) and type(value) is kind:
            return value
        if origin is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            if kind == FilePath:
                return file_path(str(value), path)
            if not is_plain(str(value)):
                raise UserError(f"{path} holds text that no setting has: {shown(value)}")
            return str(value)
    names = {tuple: "a list", bool: "true or false", abc.Mapping: "a mapping"}
    origins = [getattr(kind, "__origin__", kind) for kind in allowed if kind is not type(None)]
    wanted = " or ".join(names.get(origin, origin.__name__) for origin in origins)
    raise UserError(f"{path} must be {wanted}, not {shown(value)}")


def tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def choices(field: Field[Any]) -> list[str]:
    """The values that a setting may have: those it names, or the modules of the package it names; none: any value."""
    package = field.metadata.get("package")
    return list(field.metadata.get("choices", ())) if package is None else plugins.modules(package)


def unknown(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    return f"unknown key or option; {hint(word, known)}"

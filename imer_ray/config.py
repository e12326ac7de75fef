"""Configurations from the schema: frozen dataclasses hold the defaults, Hydra composes, YAML only picks.

A composed configuration is a plain nested dict, so that a Tune trial can carry, hash and change it without importing
torch. A *component* (SDE, sampler, backbone, data set, ...) is a node ``{"name": ..., "_target_": ..., **fields}``
whose ``_target_`` is a frozen dataclass; the fields' defaults and range checks live in that class, once.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import sys
from collections import abc
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import resources
from typing import Any, cast, get_args, get_type_hints

from imer_ray.errors import UserError
from imer_ray.received import is_plain, plain, shown
from imer_ray.schema import MAX_SETTING, ExperimentConfig, FilePath
from imer_ray.typed_text import Typed, file_path, mapping, nest, pair, read, shortened, unquoted
from imer_ray.uris import refuse_secrets

CONF_MODULE = "imer_ray.conf"
PRESETS = "preset"  # the folder of a published system's settings, as one would type them


def compose(schema: type, config_name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose a command's configuration from ``key=value`` overrides, fill in every default and check it.

    Raises:
        UserError: an unknown key or option, a value of the wrong type or with a secret, or one its component refuses.
    """
    for override in overrides:
        refuse_secrets(override.partition("=")[0], override)
    pairs: list[tuple[str, Any]] = [pair(override) for override in overrides]
    if issubclass(schema, ExperimentConfig):
        pairs = _with_preset(pairs)
    groups = dict(component_groups(schema))
    chosen, settings = sort_out(pairs, schema)
    words = []  # names of groups, paths and options only: Hydra's grammar sees nothing that a user typed
    for path, name in chosen.items():
        group = groups[path]
        words.append(f"{group}={name}" if group.replace("/", ".") == path else f"{group}@{path}={name}")
    return resolve(merge(_composed(config_name, tuple(words)), nest(settings)), schema)


@functools.lru_cache(maxsize=32)
def _composed(config_name: str, words: tuple[str, ...]) -> Mapping[str, Any]:
    """What Hydra makes of the YAML files for these options; never to be changed."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module(config_module=CONF_MODULE, version_base="1.3"):
        tree = OmegaConf.to_container(hydra_compose(config_name, overrides=list(words)), resolve=True)
    return cast(Mapping[str, Any], tree)


def sort_out(pairs: Iterable[tuple[str, Any]], schema: type) -> tuple[dict[str, str], list[tuple[str, Any]]]:
    """``{path: name}`` of the components that are named, and all other settings.

    ``diffusion.sampler=heun`` names one, and so do ``diffusion.sampler.name=heun`` and ``diffusion/sampler=heun``. A
    mapping such as ``training.encode={num_epochs: 3}`` is taken apart.

    Raises:
        UserError: there is no option of this name.
    """
    groups = dict(component_groups(schema))
    changes: dict[str, dict[str, Any]] = {f.name: {} for f in fields(schema) if "overrides" in f.metadata}
    chosen: dict[str, str] = {}
    settings: list[tuple[str, Any]] = []
    for key, value in _spread(pairs, schema):
        path, (head, _, rest) = _component_path(key), key.partition(".")
        if path in groups:
            chosen[path] = option_name(value, groups[path], path)
        elif head in changes:
            changes[head][rest or "name"] = value
        else:
            settings.append((key, value))
    return chosen, settings + [(name, found) for name, found in changes.items() if found]


def option_name(value: Any, group: str, path: str) -> str:
    """The option of a group that a text names."""
    name = unquoted(value) if isinstance(value, str) else str(value)
    if name not in options(group):
        raise UserError(f"{path}={shortened(name)}: {_unknown(name, options(group))}")
    return name


def _component_path(key: str) -> str:
    return key.replace("/", ".").removesuffix(".name")


def _spread(pairs: Iterable[tuple[str, Any]], schema: type) -> Iterator[tuple[str, Any]]:
    for path, value in pairs:
        section = _section(schema, path)
        inner = mapping(value) if section and isinstance(value, Typed) else None
        if inner is not None:
            yield from _spread(((f"{path}.{key}", one) for key, one in inner.items()), schema)
        elif is_dataclass(section):
            first = fields(section)[0].name
            raise UserError(f"{path} has several settings: give them one by one, as {path}.{first}=...")
        else:
            yield path, value


def _section(schema: type, path: str) -> Any:
    """What has further settings below ``path``: a dataclass or a mapping; None for a value and what is unknown."""
    for part in path.replace("/", ".").split("."):
        hint = _hints(schema).get(part) if is_dataclass(schema) else None
        schema = cast(type, hint)
    return schema if is_dataclass(schema) or schema == Mapping[str, Any] else None


def _with_preset(pairs: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The settings of ``preset=NAME`` before all others; those inside a component that is chosen anew are left out."""
    chosen = [_component_path(key) for key, _ in pairs]
    out: list[tuple[str, Any]] = []
    for name in (value for key, value in pairs if key == PRESETS):
        for path, value in preset(unquoted(name)).items():
            if not any(path == other or path.startswith(f"{other}.") for other in chosen):
                out.append((path, value))
    return [*out, *((key, value) for key, value in pairs if key != PRESETS)]


def preset(name: str) -> dict[str, Any]:
    """A published system's settings, ``{dotted path: value}``.

    Raises:
        UserError: there is none of this name.
    """
    if name not in options(PRESETS):
        raise UserError(f"{PRESETS}={name}: {_unknown(name, options(PRESETS))}")
    return _read(PRESETS, name)


def resolve(tree: Mapping[str, Any], schema: type = ExperimentConfig) -> dict[str, Any]:
    """Fill in defaults and check every key and value of a configuration tree against ``schema``."""
    return _resolve(tree, schema, "")


def options(group: str) -> list[str]:
    """The options of a component group: the YAML files in ``conf/<group>/``."""
    folder = resources.files(CONF_MODULE).joinpath(*group.split("/"))
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


@functools.cache
def targets(group: str) -> dict[str, str]:
    """The registered components of a group, ``{name: _target_}``: what its option files name."""
    nodes = {name: _read(group, name) for name in options(group)}
    return {name: node.get(group, node)["_target_"] for name, node in nodes.items()}


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


@functools.cache
def _read(group: str, name: str) -> dict[str, Any]:
    import yaml

    folder = resources.files(CONF_MODULE).joinpath(*group.split("/"))
    return yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


def option(group: str, name: str) -> dict[str, Any]:
    """One component with all its defaults: ``{"name": name, "_target_": ..., **fields}``."""
    if name not in options(group):
        raise UserError(f"{group}: {_unknown(name, options(group))}")
    node = _read(group, name)
    return resolve_component(node.get(group, node), group, group.replace("/", "."))


def with_changes(node: Mapping[str, Any], changes: Mapping[str, Any], group: str) -> dict[str, Any]:
    """A component with settings changed; one that ``changes`` names begins with its own defaults."""
    path, rest = group.replace("/", "."), {key: value for key, value in changes.items() if key != "name"}
    start = option(group, option_name(changes["name"], group, path)) if "name" in changes else node
    return resolve_component(merge(start, rest), group, path)


def component_groups(schema: type = ExperimentConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(configuration path, component group) of every component of a schema."""
    hints = _hints(schema)
    for f in fields(schema):
        if "group" in f.metadata:
            yield prefix + f.name, f.metadata["group"]
        elif is_dataclass(hints[f.name]):
            yield from component_groups(hints[f.name], f"{prefix}{f.name}.")


def build(node: Mapping[str, Any]) -> Any:
    """Instantiate a component from its node; its class checks the ranges.

    Raises:
        UserError: the node names no registered component (a name may be left out).
    """
    cls = _class_of(node, _registered(), "_target_")
    return cls(**{k: _tupled(v) for k, v in node.items() if k not in ("name", "_target_")})


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
    import copy

    new = copy.deepcopy(dict(tree))
    for path in sorted(changes, key=lambda p: p.count(".")):
        *parents, last = path.split(".")
        node = new
        for part in parents:
            node = node[part]
        value = changes[path]
        node[last] = copy.deepcopy(components[path][value]) if path in components else value
    return new


def merge(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``tree`` with nested changes; a component may be given by name alone, and then has its own defaults."""
    new = dict(tree)
    for key, value in changes.items():
        inner = new.get(key)
        new[key] = merge(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return new


def component_options(schema: type = ExperimentConfig) -> dict[str, dict[str, dict[str, Any]]]:
    """For every component's path, each option's node with its defaults, for `replace`."""
    return {path: {name: option(group, name) for name in options(group)} for path, group in component_groups(schema)}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{dotted path: value}``; a component appears under its own path with its name, beside its settings."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                flat[prefix + key] = value["name"]
            inner = {k: v for k, v in value.items() if "_target_" not in value or k not in ("name", "_target_")}
            flat.update(flatten(inner, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _class_of(node: Mapping[str, Any], registered: Collection[tuple[str, str]], path: str) -> type:
    """The class of a component's node. Nothing but what is ``registered`` is ever imported or called.

    Raises:
        UserError: the node names anything else.
    """
    target, name = node.get("_target_"), node.get("name")
    if not any(target == known and name in (None, option) for option, known in registered):
        names = ", ".join(sorted({option for option, known in registered if known == target}))
        belongs = f"is {names}, not {shown(name)}" if names else "is not (or no longer) a component that can stand here"
        raise UserError(f"{path}: {shown(target)} {belongs}")
    module, _, cls = str(target).rpartition(".")
    return getattr(importlib.import_module(module), cls)


@functools.cache
def _hints(schema: type) -> dict[str, Any]:
    """Worked out once: a search resolves a configuration for every proposal."""
    return get_type_hints(schema, include_extras=True)


def _resolve(tree: Any, schema: type, prefix: str) -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        raise UserError(f"{prefix.rstrip('.') or 'configuration'} must be a section of settings, not {shown(tree)}")
    known = {f.name: f for f in fields(schema)}
    for key in tree:
        if key not in known:
            raise UserError(f"{prefix}{plain(key)}: {_unknown(str(key), known)}")
    hints = _hints(schema)
    out: dict[str, Any] = {}
    for name, f in known.items():
        path = prefix + name
        if "group" in f.metadata:
            if name not in tree:
                raise UserError(f"{path} is not chosen; options: {', '.join(options(f.metadata['group']))}")
            out[name] = resolve_component(tree[name], f.metadata["group"], path)
        elif "overrides" in f.metadata:
            out[name] = dict(tree.get(name) or {})
        elif is_dataclass(hints[name]):
            given = tree.get(name)
            out[name] = _resolve({} if given is None else given, hints[name], f"{path}.")
        else:
            default = f.default if f.default is not MISSING else None
            value = _checked(tree.get(name, default), hints[name], path)
            allowed = choices(f)
            for word in value if isinstance(value, list) else [value]:
                if allowed and word not in allowed:
                    raise UserError(f"{path}={plain(word)}: {_unknown(str(word), allowed)}")
            out[name] = value
    try:
        schema(**{k: _tupled(v) for k, v in out.items()})
    except (ValueError, ArithmeticError) as error:
        raise UserError(f"{prefix.rstrip('.') or 'configuration'}: {error}") from error
    return out


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
    hints, known = _hints(cls), {f.name: f for f in fields(cls)}
    name = node.get("name") or next(name for name, target in targets(group).items() if target == node["_target_"])
    out: dict[str, Any] = {"name": name, "_target_": node["_target_"]}
    for key in node:
        if key not in known and key not in out:
            raise UserError(f"{path}.{plain(key)}: {_unknown(str(key), known)} ({path} is {name})")
    for setting, f in known.items():
        default = None if f.default is MISSING else f.default
        out[setting] = _checked(node.get(setting, default), hints[setting], f"{path}.{setting}")
    try:
        build(out)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{path}={name}: {error}") from error
    return out


def _checked(value: Any, hint: Any, path: str) -> Any:
    """Check one plain value against its annotation; an int becomes a float where one is asked for, a text a list."""
    allowed = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if isinstance(value, Typed):
        value = read(value, allowed)
    if value is None and type(None) in allowed:
        return None
    for kind in allowed:
        origin = getattr(kind, "__origin__", kind)
        if origin is tuple and isinstance(value, (list, tuple)):
            return [_checked(v, get_args(kind)[0], path) for v in value]
        if origin is tuple and isinstance(value, str):
            return [_checked(value, get_args(kind)[0], path)]
        if origin is abc.Mapping and isinstance(value, Mapping):
            inner = get_args(kind)[1]
            return {str(key): _checked(v, inner, f"{path}.{plain(key)}") for key, v in value.items()}
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


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def choices(field: Field[Any]) -> list[str]:
    """The values that a setting may have: those it names, or the modules of the package it names; none: any value."""
    package = field.metadata.get("package")
    if package is None:
        return list(field.metadata.get("choices", ()))
    entries = resources.files(package).iterdir()
    return sorted(e.name[:-3] for e in entries if e.name.endswith(".py") and not e.name.startswith("_"))


def _unknown(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word[:80], list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(sorted(known))}"
    return f"unknown key or option; {hint}"

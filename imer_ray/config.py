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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import resources
from typing import Any, cast, get_args, get_type_hints

from imer_ray.errors import UserError
from imer_ray.schema import MAX_SETTING, ExperimentConfig

CONF_MODULE = "imer_ray.conf"
PRESETS = "preset"  # the folder of a published system's settings, as one would type them


def compose(schema: type, config_name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose a command's configuration from ``key=value`` overrides, fill in every default and check it.

    Raises:
        UserError: an unknown key or option, a value of the wrong type, or one its component refuses.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = dict(component_groups(schema))
    words = []
    for key, value in _with_preset([_pair(override) for override in overrides]):
        path = key.replace("/", ".")
        if path not in groups:
            words.append(f"++{key}={value}")
            continue
        group = groups[path]
        if value not in options(group):
            raise UserError(f"{path}={value}: {_unknown(value, options(group))}")
        words.append(f"{group}={value}" if group.replace("/", ".") == path else f"{group}@{path}={value}")
    try:
        with initialize_config_module(config_module=CONF_MODULE, version_base="1.3"):
            tree = OmegaConf.to_container(hydra_compose(config_name, overrides=words), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"cannot read the overrides: {str(error).splitlines()[0]}") from error
    return resolve(cast(Mapping[str, Any], tree), schema)


def _pair(override: str) -> tuple[str, str]:
    key, separator, value = override.partition("=")
    if not separator or not key or key[0] in "~+":
        raise UserError(f"cannot read {override!r}: write key=value, for example study.num_trials=48")
    return key, value


def _with_preset(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The settings of ``preset=NAME`` before all others; those inside a component that is chosen anew are left out."""
    chosen = [(key.replace("/", "."), value) for key, value in pairs]
    out: list[tuple[str, str]] = []
    for _, name in (pair for pair in chosen if pair[0] == PRESETS):
        for path, value in preset(name).items():
            if not any(path == other or path.startswith(f"{other}.") for other, _ in chosen):
                out.append((path, str(value)))
    return [*out, *(pair for pair in pairs if pair[0] != PRESETS)]


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
def _read(group: str, name: str) -> dict[str, Any]:
    import yaml

    folder = resources.files(CONF_MODULE).joinpath(*group.split("/"))
    return yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text())


def option(group: str, name: str) -> dict[str, Any]:
    """One component with all its defaults: ``{"name": name, "_target_": ..., **fields}``."""
    if name not in options(group):
        raise UserError(f"{group}: {_unknown(name, options(group))}")
    node = _read(group, name)
    return _resolve_component(node.get(group, node), group, group.replace("/", "."))


def component_groups(schema: type = ExperimentConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(configuration path, component group) of every component of a schema."""
    hints = _hints(schema)
    for f in fields(schema):
        if "group" in f.metadata:
            yield prefix + f.name, f.metadata["group"]
        elif is_dataclass(hints[f.name]):
            yield from component_groups(hints[f.name], f"{prefix}{f.name}.")


def build(node: Mapping[str, Any]) -> Any:
    """Instantiate a component from its node; its class checks the ranges."""
    target = _target(node["_target_"])
    return target(**{k: _tupled(v) for k, v in node.items() if k not in ("name", "_target_")})


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


def _target(path: str) -> type:
    module, _, name = path.rpartition(".")
    if not module.startswith("imer_ray."):
        raise UserError(f"_target_ {path!r} is not a component of imer_ray")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot load the component {path!r}: {error}") from error


@functools.cache
def _hints(schema: type) -> dict[str, Any]:
    """Worked out once: a search resolves a configuration for every proposal."""
    return get_type_hints(schema)


def _resolve(tree: Mapping[str, Any], schema: type, prefix: str) -> dict[str, Any]:
    known = {f.name: f for f in fields(schema)}
    for key in tree:
        if key not in known:
            raise UserError(f"{prefix}{key}: {_unknown(str(key), known)}")
    hints = _hints(schema)
    out: dict[str, Any] = {}
    for name, f in known.items():
        path = prefix + name
        if "group" in f.metadata:
            if name not in tree:
                raise UserError(f"{path} is not chosen; options: {', '.join(options(f.metadata['group']))}")
            out[name] = _resolve_component(tree[name], f.metadata["group"], path)
        elif "overrides" in f.metadata:
            out[name] = dict(tree.get(name) or {})
        elif is_dataclass(hints[name]):
            out[name] = _resolve(tree.get(name) or {}, hints[name], f"{path}.")
        else:
            default = f.default if f.default is not MISSING else None
            value = _checked(tree.get(name, default), hints[name], path)
            allowed = choices(f)
            for word in value if isinstance(value, list) else [value]:
                if allowed and word not in allowed:
                    raise UserError(f"{path}={word}: {_unknown(str(word), allowed)}")
            out[name] = value
    try:
        schema(**{k: _tupled(v) for k, v in out.items()})
    except ValueError as error:
        raise UserError(f"{prefix.rstrip('.') or 'configuration'}: {error}") from error
    return out


def _resolve_component(node: Any, group: str, path: str) -> dict[str, Any]:
    if isinstance(node, str):
        return option(group, node)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{path}: choose one of {', '.join(options(group))}")
    cls = _target(node["_target_"])
    hints, known = _hints(cls), {f.name: f for f in fields(cls)}
    out: dict[str, Any] = {"name": node["name"], "_target_": node["_target_"]}
    for key in node:
        if key not in known and key not in out:
            raise UserError(f"{path}.{key}: {_unknown(str(key), known)} ({path} is {node['name']})")
    for name, f in known.items():
        default = None if f.default is MISSING else f.default
        out[name] = _checked(node.get(name, default), hints[name], f"{path}.{name}")
    try:
        build(out)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}={node['name']}: {error}") from error
    return out


def _checked(value: Any, hint: Any, path: str) -> Any:
    """Check one plain value against its annotation; an int becomes a float where one is asked for, a text a list."""
    allowed = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if value is None and type(None) in allowed:
        return None
    for kind in allowed:
        origin = getattr(kind, "__origin__", kind)
        if origin is tuple and isinstance(value, (list, tuple)):
            return [_checked(v, get_args(kind)[0], path) for v in value]
        if kind == tuple[str, ...] and isinstance(value, str):
            return [value]
        if origin is abc.Mapping and isinstance(value, Mapping):
            return {str(key): _checked(inner, get_args(kind)[1], f"{path}.{key}") for key, inner in value.items()}
        if kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        most = MAX_SETTING if kind is int else sys.float_info.max
        if kind in (int, float) and isinstance(value, int) and abs(value) > most:
            raise UserError(f"{path} must lie between -{most} and {most}, not at {str(value)[:40]}")
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if kind in (int, str, bool) and type(value) is kind:
            return value
        if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in allowed if kind is not type(None))
    raise UserError(f"{path} must be {wanted}, not {value!r}")


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
    close = difflib.get_close_matches(word, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(sorted(known))}"
    return f"unknown key or option; {hint}"

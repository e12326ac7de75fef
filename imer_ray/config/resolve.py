"""Configurations as trees and as typed objects: every default filled in, every key and value checked."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar

from imer_ray.config import plugins
from imer_ray.config.components import (
    Component,
    checked,
    choices,
    hints,
    option,
    options,
    resolve_component,
    tupled,
    unknown,
)
from imer_ray.config.experiment import LATER, ExperimentConfig
from imer_ray.errors import UserError
from imer_ray.received import plain, shown

Schema = TypeVar("Schema")


def typed(tree: Mapping[str, Any], schema: type[Schema]) -> Schema:
    """The object that a resolved tree describes: sections as dataclasses, components as `Component`, lists as tuples.

    A tree that an earlier version wrote, in a journal or results, has the defaults of settings that have come since.

    Raises:
        UserError: a section refuses its values.
    """
    try:
        config: Schema = _typed(tree, schema, "")
    except KeyError:
        config = _typed(_filled(tree, schema), schema, "")
    return config


def tree_of(config: Any, schema: type | None = None) -> dict[str, Any]:
    """The resolved tree of a typed configuration: what a journal, a YAML file or a key holds.

    Args:
        schema: of which the configuration's class is a subclass, whose fields alone are wanted; None: all fields.
    """
    return {f.name: _plain(getattr(config, f.name)) for f in fields(schema or config)}


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return value.node
    if is_dataclass(value):
        return tree_of(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _typed(tree: Mapping[str, Any], schema: Any, prefix: str) -> Any:
    values = dict[str, Any]()
    for name, is_component, section in _sections(schema):
        value = tree[name]
        if is_component:
            value = Component.of(value)
        elif section is not None:
            value = _typed(value, section, f"{prefix}{name}.")
        values[name] = tupled(value)
    try:
        return schema(**values)
    except (ValueError, ArithmeticError) as error:
        raise UserError(f"{prefix.rstrip('.') or 'configuration'}: {error}") from error


@functools.cache
def _sections(schema: type) -> tuple[tuple[str, bool, Any], ...]:
    """(name, whether it is a component, its schema if it is a section) of each field; looked at for every proposal."""
    annotations = hints(schema)
    found = ((f.name, "group" in f.metadata, annotations[f.name]) for f in fields(schema))
    return tuple((name, is_one, hint if is_dataclass(hint) else None) for name, is_one, hint in found)


def resolve(tree: Mapping[str, Any], schema: type = ExperimentConfig) -> dict[str, Any]:
    """Fill in defaults and check every key and value of a configuration tree against ``schema``; the tree again.

    Raises:
        UserError: an unknown key or option, a value of the wrong type, or one that its section or component refuses.
    """
    resolved = _whole(tree, schema)
    _checked(resolved, schema)
    return resolved


def config_of(tree: Mapping[str, Any], schema: type[Schema]) -> Schema:
    """`resolve`, as the typed configuration that the tree describes."""
    return _checked(_whole(tree, schema), schema)


def _whole(tree: Mapping[str, Any], schema: type) -> dict[str, Any]:
    if isinstance(tree, Mapping):
        plugins.require(tree.get("plugins"))
    resolved = _filled(tree, schema)
    if issubclass(schema, ExperimentConfig):
        resolved["plugins"] = sorted({*resolved["plugins"], *plugins.needed_by(resolved)})
    return resolved


def _checked(resolved: Mapping[str, Any], schema: type[Schema]) -> Schema:
    config = typed(resolved, schema)
    if isinstance(config, ExperimentConfig):
        _check_together(config)
    return config


def _check_together(config: ExperimentConfig) -> None:
    """What no component and no section of the schema can see alone.

    Raises:
        UserError: naming the setting.
    """
    diffusion = config.diffusion
    if diffusion.sharing == "shared" and not diffusion.backbone.build().shareable:
        raise UserError(
            f"diffusion: the backbone {diffusion.backbone.name} is one network per modality and cannot be shared: "
            "set sharing=per_modality, or choose another backbone"
        )
    if config.bank.folds > 1 and config.bank.mode == "same" and config.distill.method != "none":
        raise UserError(
            f"bank.folds={config.bank.folds} would need a student of every fold: set bank.mode=reference, or "
            "distill.method=none"
        )
    samplers = set(config.evaluate.grid.sampler or ())
    if samplers and (strange := samplers - set(known := options("diffusion/sampler"))):
        names = ", ".join(sorted(strange))
        raise UserError(f"evaluate.grid: sampler: {names} is unknown; choose among {', '.join(known)}")


def component_groups(schema: type = ExperimentConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(configuration path, component group) of every component of a schema."""
    annotations = hints(schema)
    for f in fields(schema):
        if "group" in f.metadata:
            yield prefix + f.name, f.metadata["group"]
        elif is_dataclass(annotations[f.name]):
            yield from component_groups(annotations[f.name], f"{prefix}{f.name}.")


def component_options(schema: type = ExperimentConfig) -> dict[str, dict[str, dict[str, Any]]]:
    """For every component's path, each option's node with its defaults, for `replace`."""
    return {path: {name: option(group, name) for name in options(group)} for path, group in component_groups(schema)}


@functools.cache
def later_settings(schema: type = ExperimentConfig, prefix: str = "") -> dict[str, Any]:
    """{path: default} of the settings of a schema that came when there were results, which did without them."""
    annotations, found = hints(schema), dict[str, Any]()
    for f in fields(schema):
        if LATER in f.metadata:
            found[prefix + f.name] = f.default
        elif is_dataclass(annotations[f.name]):
            found |= later_settings(annotations[f.name], f"{prefix}{f.name}.")
    return found


def _filled(tree: Any, schema: type) -> dict[str, Any]:
    """All keys are looked at before a component is built, so that a misspelt one costs no import of torch."""
    _check_keys(tree, schema, "")
    return _resolve(tree, schema, "")


def _resolve(tree: Mapping[str, Any], schema: type, prefix: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, (f, hint, is_section) in _known(schema).items():
        path = prefix + name
        if "group" in f.metadata:
            if name not in tree:
                raise UserError(f"{path} is not chosen; options: {', '.join(options(f.metadata['group']))}")
            out[name] = resolve_component(tree[name], f.metadata["group"], path)
        elif "overrides" in f.metadata:
            out[name] = dict(tree.get(name) or {})
        elif is_section:
            given = tree.get(name)
            out[name] = _resolve({} if given is None else given, hint, f"{path}.")
        else:
            value = checked(tree.get(name, None if f.default is MISSING else f.default), hint, path)
            allowed = choices(f) if f.metadata else ()
            for word in value if isinstance(value, list) else [value]:
                if allowed and word not in allowed:
                    raise UserError(f"{path}={plain(word)}: {unknown(str(word), allowed)}")
            out[name] = value
    return out


def _check_keys(tree: Any, schema: type, prefix: str) -> None:
    """Raises UserError for what is no section, or a key that a section lacks; in sections within it as well."""
    if not isinstance(tree, Mapping):
        raise UserError(f"{prefix.rstrip('.') or 'configuration'} must be a section of settings, not {shown(tree)}")
    known = _known(schema)
    for key in tree:
        if key not in known:
            raise UserError(f"{prefix}{plain(key)}: {unknown(str(key), known)}")
    for name, (f, hint, is_section) in known.items():
        if is_section and not {"group", "overrides"} & f.metadata.keys() and tree.get(name) is not None:
            _check_keys(tree[name], hint, f"{prefix}{name}.")


@functools.cache
def _known(schema: type) -> dict[str, tuple[Field[Any], Any, bool]]:
    """Each field by its name, its annotation, and whether it is a section; looked at for every proposal."""
    annotations = hints(schema)
    return {f.name: (f, annotations[f.name], is_dataclass(annotations[f.name])) for f in fields(schema)}

"""Configurations from the schema: frozen dataclasses hold the defaults, Hydra composes, YAML only picks.

A composed configuration is an instance of its schema. As a plain nested dict (`imer_ray.config.resolve.tree_of`) a
Tune trial carries, hashes and changes it; neither needs torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from imer_ray.config import plugins
from imer_ray.config.components import (
    Component,
    checked,
    hints,
    option_name,
    options,
    read_option,
    unknown,
)
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.plugin_options import PRESETS
from imer_ray.config.plugins import CONF_MODULE
from imer_ray.config.resolve import component_groups, config_of
from imer_ray.config.tree import merge
from imer_ray.config.typed_text import Typed, mapping, nest, pair, unquoted
from imer_ray.errors import UserError
from imer_ray.uris import refuse_secrets

PLUGINS = "plugins"  # the key that loads them
Schema = TypeVar("Schema")


def compose(schema: type[Schema], config_name: str, overrides: Sequence[str]) -> Schema:
    """Compose a command's configuration from ``key=value`` overrides, fill in every default and check it.

    Raises:
        UserError: an unknown key or option, a value of the wrong type or with a secret, or one its component refuses.
    """
    for override in overrides:
        refuse_secrets(override.partition("=")[0], override)
    pairs: list[tuple[str, Any]] = [pair(override) for override in overrides]
    load_plugins(pairs, schema)
    if issubclass(schema, ExperimentConfig):
        pairs = _with_preset(pairs)
    groups = dict(component_groups(schema))
    chosen, settings = sort_out(pairs, schema)
    words = []  # names of groups, paths and options only: Hydra's grammar sees nothing that a user typed
    for path, name in chosen.items():
        group = groups[path]
        words.append(f"{group}={name}" if group.replace("/", ".") == path else f"{group}@{path}={name}")
    return config_of(merge(_composed(config_name, tuple(words)), nest(settings)), schema)


def load_plugins(pairs: Iterable[tuple[str, Any]], schema: type) -> None:
    """Load the plugins that a command was told to."""
    if hint := hints(schema).get(PLUGINS):
        plugins.load(name for key, value in pairs if key == PLUGINS for name in checked(value, hint, PLUGINS))


@plugins.until_next
@functools.lru_cache(maxsize=512)
def _composed(config_name: str, words: tuple[str, ...]) -> Mapping[str, Any]:
    """What Hydra makes of the YAML files for these options; never to be changed."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf

    theirs = [str(folder).replace("'", r"\'") for _, folder in plugins.parts(plugins.CONF)]
    search = ["hydra.searchpath=[" + ",".join(f"'file://{path}'" for path in theirs) + "]"] if theirs else []
    with initialize_config_module(config_module=CONF_MODULE, version_base="1.3"):
        tree = OmegaConf.to_container(hydra_compose(config_name, overrides=[*search, *words]), resolve=True)
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
        hint = hints(schema).get(part) if is_dataclass(schema) else None
        schema = cast(type, Mapping[str, Any] if hint is Component else hint)
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
        raise UserError(f"{PRESETS}={name}: {unknown(name, options(PRESETS))}")
    return read_option(PRESETS, name)

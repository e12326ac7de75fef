"""A configuration with other settings than it was composed with."""

import dataclasses
from collections.abc import Mapping

from imer_ray.config.components import Component


def changed(config, **settings):
    """A typed configuration with settings changed; ``{setting: value}`` changes those of a section or a component."""
    return dataclasses.replace(config, **{name: _one(getattr(config, name), value) for name, value in settings.items()})


def _one(old, new):
    if isinstance(old, Component):
        return dataclasses.replace(old, settings={**old.settings, **new})
    return changed(old, **new) if dataclasses.is_dataclass(old) and isinstance(new, Mapping) else new

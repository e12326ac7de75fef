"""Typed configurations for tests, small and changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from imer_ray.config.components import Component
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig, ModelConfig
from imer_ray.config.resolve import component_options, tree_of, typed
from imer_ray.config.tree import replace

Config = TypeVar("Config", bound=ExperimentConfig)


def experiment(*overrides: str, fingerprint: str | None = None) -> ExperimentConfig:
    """The default experiment with overrides, of data that may have any content, or this."""
    composed = compose(ExperimentConfig, "experiment", overrides)
    return dataclasses.replace(composed, data_fingerprint=fingerprint)


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """The configuration with ``{dotted path: value}`` changed; a component that is named has its defaults."""
    return typed(replace(tree_of(config), changes, component_options()), type(config))


def of_model(config: ExperimentConfig, imputer: Component | None = None) -> ModelConfig:
    """What a model with this configuration is saved with."""
    return ModelConfig(**vars(config), imputer=imputer)

"""Rival without a network after the encoder: encode -> mixture -> evaluate; see `imer_ray.models.mixture`."""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages

SETTINGS = {"ranks": [3, 6, 12], "num_components": [1, 2, 4, 6]}  # all are fitted, validation clips choose


def graph(config: Mapping[str, Any], split: str) -> Stage:
    """The mixture stands for recovery and recogniser at once."""
    encoded = _stages.encode(config)
    fitted = _stages.mixture(config, encoded, SETTINGS)
    return _stages.evaluate(config, split, encoded, fitted, {})

"""Baseline: the recogniser of complete data, with zeros (the training mean) where a modality is missing."""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: Mapping[str, Any], split: str) -> Stage:
    encoded = _stages.encode({**config, "training": {**config["training"], "modality_dropout": 0.0}})
    return _stages.evaluate(config, split, encoded, encoded, {})

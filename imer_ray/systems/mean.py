"""Baseline: the recogniser of complete data, with the training mean of each frame where a modality is missing."""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: Mapping[str, Any], split: str) -> Stage:
    """As `zero`, whose zeros are one mean for all frames; see `imer_ray.models.imputers.mean`."""
    encoded = _stages.encode({**config, "training": {**config["training"], "modality_dropout": 0.0}})
    imputed = _stages.impute(config, encoded, "mean")
    return _stages.evaluate(config, split, encoded, encoded, {}, imputed)

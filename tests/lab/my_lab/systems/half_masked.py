"""As ``masked``, with every second clip complete in training."""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import masked


def graph(config: Mapping[str, Any], split: str) -> Stage:
    return masked.graph({**config, "training": {**config["training"], "modality_dropout": 0.5}}, split)

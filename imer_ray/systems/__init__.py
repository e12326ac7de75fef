"""Systems: each file builds the stage graph of one way to recognise emotion when a modality is missing.

A system offers ``graph(config, split) -> Stage``: the `evaluate` stage for a split, with all it stands on as inputs.
It reads the resolved configuration and imports neither torch nor ray, so that a waiting trial stays light.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imer_ray.config import plugins
from imer_ray.stages.graph import Stage


def load_graph(config: Mapping[str, Any], split: str, package: str = "imer_ray.systems") -> Stage:
    """The graph of the system that a configuration names, a module of ``package`` or of a plugin."""
    stage: Stage = plugins.module(package, config["system"]).graph(config, split)
    return stage

"""Systems: each file builds the stage graph of one way to recognise emotion when a modality is missing.

A system offers ``graph(config, split) -> Stage``: the `evaluate` stage for a split, with all it stands on as inputs.
It reads the typed configuration and imports neither torch nor ray, so that a waiting trial stays light.
"""

from __future__ import annotations

from imer_ray.config import plugins
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage


def graph(config: ExperimentConfig, split: str, package: str = "imer_ray.systems") -> Stage:
    """The graph of the system that a configuration names, a module of ``package`` or of a plugin."""
    final: Stage = plugins.module(package, config.system).graph(config, split)
    return final

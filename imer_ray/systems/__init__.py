"""Systems: each file builds the stage graph of one way to recognise emotion when a modality is missing.

A system offers ``graph(config, split) -> Stage``: the `evaluate` stage for a split, with all it stands on as inputs.
It reads the typed configuration and imports neither torch nor ray, so that a waiting trial stays light.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imer_ray.config import plugins
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems._settled import settled

TIMED = "cost"  # the kind of stage whose results are times


def graph(config: ExperimentConfig, split: str, package: str = "imer_ray.systems", machine: str | None = None) -> Stage:
    """The graph of the system that a configuration names, a module of ``package`` or of a plugin.

    Configurations whose results must be equal have one graph.

    Args:
        machine: hardware that times are measured on, in words. It is part of the keys of what is timed, so that a store
            that several machines share never gives one the other's times. None: times do not matter, and are measured
            once for all seeds.
    """
    final: Stage = plugins.module(package, config.system).graph(settled(config), split)
    return _timed(final, {"seed": 0} if machine is None else {"machine": machine})


def _timed(stage: Stage, settings: Mapping[str, Any]) -> Stage:
    inputs = {role: _timed(source, settings) for role, source in stage.inputs.items()}
    if stage.kind == TIMED:
        return replace(stage, inputs=inputs, config={**stage.config, **settings})
    if all(source is stage.inputs[role] for role, source in inputs.items()):
        return stage  # with its key, if that is known
    return replace(stage, inputs=inputs)

"""Systems: each file builds the stage graph of one way to recognise emotion when a modality is missing.

A system offers ``graph(config, split) -> Stage``: the `evaluate` stage for a split, with all it stands on as inputs.
It reads the typed configuration and imports neither torch nor ray, so that a waiting trial stays light.
"""

from __future__ import annotations

from dataclasses import replace

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
            that several machines share never gives one the other's times. None: times do not matter.
    """
    final: Stage = plugins.module(package, config.system).graph(settled(config), split)
    return final if machine is None else _timed_on(machine, final)


def _timed_on(machine: str, stage: Stage) -> Stage:
    inputs = {role: _timed_on(machine, source) for role, source in stage.inputs.items()}
    if stage.kind == TIMED:
        return replace(stage, inputs=inputs, config={**stage.config, "machine": machine})
    if all(source is stage.inputs[role] for role, source in inputs.items()):
        return stage  # with its key, if that is known
    return replace(stage, inputs=inputs)

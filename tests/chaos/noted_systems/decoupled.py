from dataclasses import replace

from imer_ray.stages.graph import Stage
from imer_ray.systems import decoupled


def graph(config, split):
    return _noted(decoupled.graph(config, split))


def _noted(stage: Stage) -> Stage:
    inputs = {role: _noted(source) for role, source in stage.inputs.items()}
    return replace(stage, function=f"noted_systems.stages:{stage.kind}", inputs=inputs)

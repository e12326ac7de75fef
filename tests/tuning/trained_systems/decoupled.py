"""encode -> recognise, which loss.recovery makes a training of its own, and cost beside it -> evaluate."""

from imer_ray.stages.graph import Stage


def _stage(name, function, config, **inputs):
    return Stage(name=name, function=f"trained_systems.stages:{function}", config=config, data="toy", inputs=inputs)


def graph(config, split):
    encoded = _stage("encode", "encode", {"seed": config.seed})
    recognised = _stage("recognise", "recognise", {"recovery": config.loss.recovery}, encode=encoded)
    steps = {"num_steps": config.diffusion.num_steps}
    cost = _stage("cost", "cost", steps, encode=encoded)
    return _stage("evaluate", "evaluate", steps, recogniser=recognised, cost=cost)

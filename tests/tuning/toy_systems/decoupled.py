"""encode -> pretrain -> evaluate, where the searched settings decide how evaluate ends (see `stages.evaluate`)."""

from imer_ray.config.resolve import tree_of
from imer_ray.stages.graph import Stage


def _stage(name, function, config, **inputs):
    return Stage(name=name, function=f"toy_systems.stages:{function}", config=config, data="toy", inputs=inputs)


def graph(config, split):
    assert split == "valid"
    encoded = _stage("encode", "encode", {"seed": config.seed})
    pretrained = _stage("pretrain", "pretrain", {"sde": config.diffusion.sde.node}, encode=encoded)
    slices = {"num_steps": config.diffusion.num_steps, "loss": tree_of(config.loss)}
    return _stage("evaluate", "evaluate", slices, pretrain=pretrained)

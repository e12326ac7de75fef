"""encode -> pretrain -> evaluate; the quality of an evaluation is drawn from the seed and what is evaluated."""

from imer_ray.config.resolve import tree_of
from imer_ray.stages.graph import Stage


def _stage(name, config, **inputs):
    return Stage(name=name, function=f"noisy_systems.stages:{name}", config=config, data="toy", inputs=inputs)


def graph(config, split):
    encoded = _stage("encode", {"seed": config.seed})
    pretrained = _stage("pretrain", {"seed": config.seed, "sde": config.diffusion.sde.node}, encode=encoded)
    slices = {"num_steps": config.diffusion.num_steps, "loss": tree_of(config.loss), "seed": config.seed}
    slices["fold"] = config.validation_fold
    return _stage("evaluate", slices, pretrain=pretrained)

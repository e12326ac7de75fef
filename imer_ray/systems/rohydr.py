"""RoHyDR: encode -> recover[l, a, v] (-> distill[l, a, v]) -> bank -> fuse -> classify -> evaluate.

Its three training stages as published (their code, d305062), one after the other and none sampling in its batches:
`recover` trains the diffusions and refiners, `fuse` refiners, fusion and the reconstructor of fused features against
their discriminator, `classify` all of the recogniser. What was mended is said in `imer_ray.tasks.recover`,
`imer_ray.tasks.fuse` and `imer_ray.models.adversary`.
"""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages, masked


def graph(config: ExperimentConfig, split: str) -> Stage:
    """Each loss weight costs its stage and what follows: lambda_c `classify`, lambda_al `fuse` too, lambda_g all."""
    if not _stages.recovers(config):
        return masked.graph(config, split)
    encoded = _stages.encode(config)
    recovered = _stages.recover(config, encoded)
    networks = _stages.distill(config, encoded, recovered)
    drawn_from = networks if config.bank.mode == "same" else recovered  # as in `decoupled`
    banked = _stages.bank(config, encoded, drawn_from, _stages.recover)
    fused = _stages.fuse(config, encoded, recovered, banked)
    return _stages.evaluate(config, split, encoded, _stages.classify(config, encoded, banked, fused), networks)

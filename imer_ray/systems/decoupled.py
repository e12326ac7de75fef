"""The NTUA thesis's decoupling: encode -> pretrain[l, a, v] (-> distill[l, a, v]) -> bank -> recognise -> evaluate."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages, masked


def graph(config: ExperimentConfig, split: str) -> Stage:
    """Sampler, steps and precision cost an evaluation; loss weights a recogniser; SDE and backbone a pretraining.

    Distillation costs its own stages and an evaluation. With neither a prior nor a network nothing is recovered: that
    is `masked`.
    """
    if not _stages.recovers(config):
        return masked.graph(config, split)
    encoded = _stages.encode(config)
    teachers = _stages.pretrain(config, encoded)
    networks = _stages.distill(config, encoded, teachers)
    # The teachers' accurate samples are what students aim at, so one bank and recogniser serve both; only a bank of
    # the trial's own sampler is of the trial's own networks, too.
    drawn_from = networks if config.bank.mode == "same" else teachers
    banked = _stages.bank(config, encoded, drawn_from, _stages.pretrain)
    return _stages.evaluate(config, split, encoded, _stages.recognise(config, encoded, banked), networks)

"""Rival after DiCMoR (Wang et al., ICCV 2023): missing modalities by class-conditional normalising flows.

encode -> impute -> bank -> recognise -> evaluate; see `imer_ray.models.imputers.flow_transfer` for what is DiCMoR's.
"""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: ExperimentConfig, split: str) -> Stage:
    """Refiners, recogniser and patterns are those of `decoupled`; only what fills the bank differs."""
    encoded, chosen = _stages.encode(config), _stages.imputer("flow_transfer")
    imputed = _stages.impute(config, encoded, chosen, loop=config.training.impute)
    recogniser = _stages.recognise(config, encoded, _stages.imputed_bank(config, encoded, chosen, imputed))
    return _stages.evaluate(config, split, encoded, recogniser, {}, imputed, chosen)

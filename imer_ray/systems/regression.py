"""Rival: missing modalities by ridge regression per pattern; encode -> impute -> bank -> recognise -> evaluate."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: ExperimentConfig, split: str) -> Stage:
    """Refiners, recogniser and patterns are those of `decoupled`; only what fills the bank differs."""
    encoded, chosen = _stages.encode(config), _stages.imputer("regression")
    imputed = _stages.impute(config, encoded, chosen)
    recogniser = _stages.recognise(config, encoded, _stages.imputed_bank(config, encoded, chosen, imputed))
    return _stages.evaluate(config, split, encoded, recogniser, {}, imputed, chosen)

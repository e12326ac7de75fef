"""Rival after MMIN (Zhao et al., ACL 2021): missing modalities by a cascade of residual autoencoders.

encode -> impute -> bank -> recognise -> evaluate; see `imer_ray.models.imputers.autoencoder` for what is MMIN's.
"""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: ExperimentConfig, split: str) -> Stage:
    """Refiners, recogniser and patterns are those of `decoupled`; only what fills the bank differs."""
    encoded, chosen = _stages.encode(config), _stages.imputer("autoencoder")
    imputed = _stages.impute(config, encoded, chosen, loop=config.training.impute)
    recogniser = _stages.recognise(config, encoded, _stages.imputed_bank(config, encoded, chosen, imputed))
    return _stages.evaluate(config, split, encoded, recogniser, {}, imputed, chosen)

"""Rival after MMIN (Zhao et al., ACL 2021): missing modalities by a cascade of residual autoencoders.

encode -> impute -> bank -> recognise -> evaluate; see `imer_ray.models.imputers.autoencoder` for what is MMIN's.
"""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: Mapping[str, Any], split: str) -> Stage:
    """Refiners, recogniser and patterns are those of `decoupled`; only what fills the bank differs."""
    encoded = _stages.encode(config)
    training = {"impute": config["training"]["impute"]}
    imputed = _stages.impute(config, encoded, "autoencoder", "autoencode", training=training)
    recogniser = _stages.recognise(config, encoded, _stages.imputed_bank(config, encoded, imputed))
    return _stages.evaluate(config, split, encoded, recogniser, {}, imputed)

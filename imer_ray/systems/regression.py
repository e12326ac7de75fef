"""Rival: missing modalities by ridge regression per pattern; encode -> impute -> bank -> recognise -> evaluate."""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: Mapping[str, Any], split: str) -> Stage:
    """Refiners, recogniser and patterns are those of `decoupled`; only what fills the bank differs."""
    encoded = _stages.encode(config)
    imputed = _stages.impute(config, encoded, "regression")
    recogniser = _stages.recognise(config, encoded, _stages.imputed_bank(config, encoded, imputed))
    return _stages.evaluate(config, split, encoded, recogniser, {}, imputed)

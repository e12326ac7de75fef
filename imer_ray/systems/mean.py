"""Baseline: the recogniser of complete data, with the training mean of each frame where a modality is missing."""

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: ExperimentConfig, split: str) -> Stage:
    """As `zero`, whose zeros are one mean for all frames; see `imer_ray.models.imputers.mean`."""
    encoded, chosen = _stages.encode(config, modality_dropout=0.0), _stages.imputer("mean")
    imputed = _stages.impute(config, encoded, chosen)
    return _stages.evaluate(config, split, encoded, encoded, {}, imputed, chosen)

"""The Bayes optimum of synthetic data, scored like any system."""

from __future__ import annotations

import functools
from typing import Any

import torch

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.evaluation.score import score
from imer_ray.training.latents import batches, load_dataset, opened


def bayes_optimum(config: ExperimentConfig, split: str) -> dict[str, float]:
    """Metrics of the optimal predictions from what each setting leaves; empty where the data's law is not known."""
    data = config.data.build()
    if not hasattr(data, "oracle"):
        return {}
    load_dataset(config)  # refuses other data than the configuration's
    return dict(_optimum(data, config.protocol.build(), split, config.seed))


@functools.lru_cache(maxsize=8)
def _optimum(data: Any, protocol: Any, split: str, seed: int) -> dict[str, float]:
    dataset, oracle = opened(data), data.oracle()
    predictions = {}
    for setting in protocol.settings():
        left = dataset.under(protocol, setting, split, seed)
        parts = [oracle.predict(batch, batch.recorded).median for batch in batches(left, split, "cpu")]
        predictions[setting] = torch.cat(parts).float()
    return score(predictions, dataset, split, protocol)

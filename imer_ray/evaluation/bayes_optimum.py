"""The Bayes optimum of synthetic data, scored like any system."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import torch

from imer_ray.config.components import build
from imer_ray.evaluation.score import score
from imer_ray.training.latents import batches, load_dataset


def bayes_optimum(config: Mapping[str, Any], split: str) -> dict[str, float]:
    """Metrics of the optimal predictions from what each setting leaves; empty where the data's law is not known."""
    return dict(
        _optimum(json.dumps([config["data"], config["data_fingerprint"], config["protocol"]]), split, config["seed"])
    )


@functools.lru_cache(maxsize=8)
def _optimum(identity: str, split: str, seed: int) -> dict[str, float]:
    data, fingerprint, node = json.loads(identity)
    known = build(data)
    if not hasattr(known, "oracle"):
        return {}
    oracle, protocol = known.oracle(), build(node)
    dataset = load_dataset({"data": data, "data_fingerprint": fingerprint})
    predictions = {}
    for setting in protocol.settings():
        available = protocol.mask(setting, dataset.recorded(split), split, seed)
        parts = [oracle.predict(batch, available[batch.index]).median for batch in batches(dataset, split, "cpu")]
        predictions[setting] = torch.cat(parts).float()
    return score(predictions, dataset, split, protocol)

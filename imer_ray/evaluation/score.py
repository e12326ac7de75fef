"""Metrics of predictions under every setting of a protocol, and which settings leave enough to be scored."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.dataset import Dataset
from imer_ray.errors import UserError
from imer_ray.evaluation.metrics import metrics
from imer_ray.training.latents import load_dataset
from imer_ray.training.losses import has_label

MIN_CLIPS = 2


def score(
    predictions: Mapping[str, Tensor],
    dataset: Dataset,
    split: str,
    protocol: Any,
    by_clip: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({}),
) -> dict[str, float]:
    """``<split>.<metric>``, the mean over the settings in which something is missing, and
    ``<split>.<setting>.<metric>``.

    Args:
        by_clip: setting -> metric -> [N], of metrics that are means over clips (`imer_ray.evaluation.forecasts`).
    """
    labels = dataset.labels(split)
    results: dict[str, float] = {}
    incomplete: dict[str, list[float]] = {}
    for setting, values in predictions.items():
        scored = ~torch.isnan(values) & has_label(labels)
        if int(scored.sum()) < MIN_CLIPS:
            continue
        found = metrics(values[scored].numpy(), labels[scored].numpy(), dataset.label_kind)
        found |= {name: float(of_clips[scored].mean()) for name, of_clips in by_clip.get(setting, {}).items()}
        for name, value in found.items():
            results[f"{split}.{setting}.{name}"] = value
            if setting not in protocol.complete:
                incomplete.setdefault(name, []).append(value)
    if not incomplete:
        raise UserError(f"no labelled clip of the {split} split can be scored under the {protocol} protocol")
    means = {f"{split}.{name}": sum(values) / len(values) for name, values in incomplete.items()}
    return {**means, **results}


def unscored(config: ExperimentConfig, split: str) -> list[str]:
    """The protocol's settings that `score` leaves out: too few labelled clips recorded anything that they leave."""
    return [setting for setting, labels in scored_labels(config, split).items() if len(labels) < MIN_CLIPS]


def scored_labels(config: ExperimentConfig, split: str) -> dict[str, Tensor]:
    """{setting: labels [n] of the clips that can be scored under it}: labelled, and something of them is left."""
    dataset, protocol = load_dataset(config), config.protocol.build()
    labels = dataset.labels(split)
    masks = {s: protocol.mask(s, dataset.recorded(split), split, config.seed) for s in protocol.settings()}
    return {setting: labels[mask.any(1) & has_label(labels)] for setting, mask in masks.items()}

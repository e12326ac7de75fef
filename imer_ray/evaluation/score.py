"""Metrics of predictions under every setting of a protocol, and which settings leave enough to be scored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.dataset import Dataset
from imer_ray.errors import UserError
from imer_ray.evaluation.metrics import COVERAGES, metrics
from imer_ray.results.axes import ERRORS
from imer_ray.results.schema import AUILC, WORST
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
    """``<split>.<metric>``, the mean over the settings in which something is missing, ``<split>.<setting>.<metric>``,
    and what `summaries` has.

    Args:
        by_clip: setting -> metric -> [N], of metrics that are means over clips (`imer_ray.evaluation.forecasts`).
    """
    labels = dataset.labels(split)
    found: dict[str, dict[str, float]] = {}
    for setting, values in predictions.items():
        scored = ~torch.isnan(values) & has_label(labels)
        if int(scored.sum()) >= MIN_CLIPS:
            means = {name: float(of_clips[scored].mean()) for name, of_clips in by_clip.get(setting, {}).items()}
            found[setting] = metrics(values[scored].numpy(), labels[scored].numpy(), dataset.label_kind) | means
    incomplete = _by_metric({setting: of for setting, of in found.items() if setting not in protocol.complete})
    if not incomplete:
        raise UserError(f"no labelled clip of the {split} split can be scored under the {protocol} protocol")
    results = {f"{split}.{name}": sum(of.values()) / len(of) for name, of in incomplete.items()}
    results |= {f"{split}.{setting}.{name}": value for setting, of in found.items() for name, value in of.items()}
    summed = summaries(found, protocol.complete)
    return results | {f"{split}.{name}": value for name, value in summed.items()}


def summaries(found: Mapping[str, Mapping[str, float]], complete: Collection[str]) -> dict[str, float]:
    """``worst.<metric>``, the worst value of the settings in which something is missing, and ``AUILC.<metric>``, where
    settings are missing rates, of which at least two were scored.

    The area under the indicator's line chart (Yuan et al., Transformer-based Feature Reconstruction Network for Robust
    Multimodal Sentiment Analysis, ACM Multimedia 2021) is that under the metric v over the rates r_1 < ... < r_n, by
    trapezoids; here it is divided by the range of the rates, so that it is a mean of the metric:

        AUILC = sum_i (r_{i+1} - r_i) (v_i + v_{i+1}) / 2 / (r_n - r_1)

    Args:
        found: {setting: {metric: value}}; a setting that is a missing rate is called by its number.
        complete: the settings in which nothing is missing.
    """
    results = {}
    for name, of in _by_metric({setting: of for setting, of in found.items() if setting not in complete}).items():
        if name not in COVERAGES:  # of which neither more nor less is better
            results[f"{WORST}.{name}"] = (max if name in ERRORS else min)(of.values())
    rates = {setting: float(setting) for setting in found if setting[:1].isdigit()}
    for name, of in _by_metric({setting: found[setting] for setting in rates}).items():
        at = sorted((rates[setting], value) for setting, value in of.items())
        if len({rate for rate, _ in at}) > 1:
            r, v = np.array(at).T
            results[f"{AUILC}.{name}"] = float(np.trapezoid(v, r) / (r[-1] - r[0]))
    return results


def _by_metric(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{metric: {setting: value}}."""
    names = dict.fromkeys(name for of in found.values() for name in of)
    return {name: {setting: of[name] for setting, of in found.items() if name in of} for name in names}


def unscored(config: ExperimentConfig, split: str) -> list[str]:
    """The protocol's settings that `score` leaves out: too few labelled clips recorded anything that they leave."""
    return [setting for setting, labels in scored_labels(config, split).items() if len(labels) < MIN_CLIPS]


def scored_labels(config: ExperimentConfig, split: str) -> dict[str, Tensor]:
    """{setting: labels [n] of the clips that can be scored under it}: labelled, and something of them is left."""
    dataset, protocol = load_dataset(config), config.protocol.build()
    labels = dataset.labels(split)
    left = {s: dataset.under(protocol, s, split, config.seed).recorded(split) for s in protocol.settings()}
    return {setting: labels[available.any(1) & has_label(labels)] for setting, available in left.items()}

"""How often the 90 % interval holds the label, on clips that neither training nor calibration has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from imer_ray.data.dataset import Dataset
from imer_ray.evaluation.score import MIN_CLIPS, summaries
from imer_ray.evaluation.tables import COVERAGE
from imer_ray.models.pattern_model import by_pattern
from imer_ray.prediction.calibration import Calibration


def coverage(
    calibration: Calibration, predictions: Mapping[str, Tensor], dataset: Dataset, split: str, protocol: Any, seed: int
) -> dict[str, float]:
    """``<split>.<setting>.coverage_90``, the share of labelled clips whose label lies within their interval, and
    ``<split>.coverage_90``, its mean over the settings in which something is missing, and its `summaries`.

    Each clip has the interval of the modalities that the setting leaves of it.

    Args:
        predictions: {setting: [N]} of the split's clips, NaN where a setting leaves a clip nothing.
        seed: that the predictions' masks were drawn with.
    """
    labels = dataset.labels(split).numpy().astype(np.float64)
    found: dict[str, dict[str, float]] = {}
    for setting, of_setting in predictions.items():
        values = of_setting.numpy().astype(np.float64)
        available = dataset.under(protocol, setting, split, seed).recorded(split)
        asked = np.isfinite(labels) & np.isfinite(values)
        if asked.sum() < MIN_CLIPS:
            continue
        within = np.zeros(len(labels), bool)
        for pattern, places in by_pattern(available):
            rows = places.numpy()
            low, high = calibration.interval(pattern, values[rows])
            within[rows] = (low <= labels[rows]) & (labels[rows] <= high)
        found[setting] = {COVERAGE: float(within[asked].mean())}
    named = {f"{setting}.{COVERAGE}": of[COVERAGE] for setting, of in found.items()}
    incomplete = [of[COVERAGE] for setting, of in found.items() if setting not in protocol.complete]
    named |= {COVERAGE: float(np.mean(incomplete))} if incomplete else {}
    return {f"{split}.{name}": value for name, value in (named | summaries(found, protocol.complete)).items()}

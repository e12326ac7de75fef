"""The eight metrics of MMSA, as it names and computes them.

Mao et al., M-SENA: An Integrated Platform for Multimodal Sentiment Analysis, ACL 2022 (demonstrations),
``MetricsTop`` for MOSI and MOSEI.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imer_ray.errors import NonFiniteError, UserError

TWO_CLASS_METRICS = ("Has0_acc_2", "Has0_F1_score", "Non0_acc_2", "Non0_F1_score")
REGRESSION_METRICS = ("Mult_acc_5", "Mult_acc_7", "MAE", "Corr")
COVERAGES = ("PICP_50", "PICP_90")
PREDICTIVE_METRICS = ("CRPS", "NLL", *COVERAGES)  # of distributions in place of predictions: see `predictive`


def _both_signs(truth: NDArray) -> bool:
    return bool((truth < 0).any() and (truth > 0).any())


def _negative_and_others(truth: NDArray) -> bool:
    return bool((truth < 0).any() and (truth >= 0).any())


def _several_classes(limit: int) -> Callable[[NDArray], bool]:
    return lambda truth: len(np.unique(_classes(truth, limit))) > 1


# metric -> (whether labels give it a meaning, in words): of labels that are all of one class, any constant scores 1
_NEEDS: dict[str, tuple[Callable[[NDArray], bool], str]] = {
    **dict.fromkeys(("Non0_acc_2", "Non0_F1_score"), (_both_signs, "labels below and above 0")),
    **dict.fromkeys(("Has0_acc_2", "Has0_F1_score"), (_negative_and_others, "labels below 0 and others")),
    "Mult_acc_5": (_several_classes(2), "labels of more than one of its five classes"),
    "Mult_acc_7": (_several_classes(3), "labels of more than one of its seven classes"),
    **dict.fromkeys(("MAE", *PREDICTIVE_METRICS), (lambda truth: len(truth) > 0, "a label")),
    "Corr": (lambda truth: len(truth) > 0 and bool(np.ptp(truth) > 0), "labels that differ"),
}


def needed(metric: str, labels: ArrayLike, label_kind: str = "regression") -> str | None:
    """What labels [N], NaN where a clip has none, lack to give a metric a meaning, in words; None if nothing."""
    if label_kind == "binary" and metric not in TWO_CLASS_METRICS:
        return "labels in [-3, 3], not -1 and 1 only"
    truth = np.asarray(labels, np.float64).ravel()
    is_met, words = _NEEDS[metric]
    return None if is_met(truth[np.isfinite(truth)]) else words


def metrics(predictions: ArrayLike, labels: ArrayLike, label_kind: str = "regression") -> dict[str, float]:
    """Compare predictions [N] with labels [N]; accuracies and F1 are fractions.

    - Has0: negative (< 0) against non-negative (>= 0), all clips.
    - Non0: negative against positive (> 0), clips with label 0 left out.
    - F1 is the mean of both classes' F1, weighted by how often the labels name each.
    - Mult_acc_7, Mult_acc_5: share of clips where both, clipped to [-3, 3] or [-2, 2], round to the same integer
      (half to even).
    - Corr is Pearson's; 0 where predictions or labels do not vary, for which it is undefined.

    For ``label_kind`` "binary" (-1 and 1) only the two-class metrics are returned; the Non0 metrics are left out if
    every label is 0.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
        UserError: there is nothing to score.
    """
    y, truth = np.asarray(predictions, np.float64).ravel(), np.asarray(labels, np.float64).ravel()
    if len(y) != len(truth):
        raise ValueError(f"{len(y)} predictions for {len(truth)} labels")
    if len(y) == 0:
        raise UserError("no clip to score")
    if not np.isfinite(truth).all():
        raise ValueError("clips without a label cannot be scored")
    if not np.isfinite(y).all():
        raise NonFiniteError(f"{int((~np.isfinite(y)).sum())} of {len(y)} predictions are not finite")

    found = {"Has0_acc_2": accuracy(y >= 0, truth >= 0), "Has0_F1_score": weighted_f1(y >= 0, truth >= 0)}
    signed = truth != 0
    if signed.any():
        positive, truly_positive = y[signed] > 0, truth[signed] > 0
        found["Non0_acc_2"] = accuracy(positive, truly_positive)
        found["Non0_F1_score"] = weighted_f1(positive, truly_positive)
    if label_kind == "binary":
        return found
    for num_classes in (5, 7):
        found[f"Mult_acc_{num_classes}"] = accuracy(*(_classes(values, num_classes // 2) for values in (y, truth)))
    return {**found, "MAE": float(np.abs(y - truth).mean()), "Corr": correlation(y, truth)}


def _classes(values: NDArray, limit: int) -> NDArray:
    return np.round(np.clip(values, -limit, limit))


def accuracy(predicted: NDArray, truth: NDArray) -> float:
    """Share of equal entries."""
    return float((predicted == truth).mean())


def weighted_f1(predicted: NDArray, truth: NDArray) -> float:
    """sum_c P(truth = c) F1_c over both classes c, F1_c = 2 TP / (2 TP + FP + FN), 0 where TP is 0."""
    total = 0.0
    for label in (False, True):
        hits = int(((predicted == label) & (truth == label)).sum())
        if hits:
            named = int((predicted == label).sum()) + int((truth == label).sum())
            total += float((truth == label).mean()) * 2 * hits / named
    return total


def correlation(y: NDArray, truth: NDArray) -> float:
    """Pearson's correlation, 0 where one side does not vary."""
    a, b = y - y.mean(), truth - truth.mean()
    # Scaled first, so that squares neither overflow nor vanish; a spread at rounding level counts as none.
    scales = [np.abs(values).max() for values in (a, b)]
    levels = [np.abs(values).max() for values in (y, truth)]
    if any(scale <= 8 * np.finfo(np.float64).eps * level for scale, level in zip(scales, levels, strict=True)):
        return 0.0
    a, b = a / scales[0], b / scales[1]
    return float(np.clip((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()), -1.0, 1.0))

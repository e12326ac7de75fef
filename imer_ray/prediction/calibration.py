"""How sure a prediction is: a 90 % interval and the probability that the label is positive, from validation clips.

Each pattern of available modalities has both of its own: what language alone says is less sure than what all three say.

Interval, split conformal (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Lei et al.,
arXiv:1604.04173) with each side's own quantile (Romano, Patterson and Candes, arXiv:1905.03222, theorem 2). Of n signed
residuals r = y - ŷ, sorted, and alpha = 0.1:

    [ŷ + r_(n + 1 - k), ŷ + r_(k)],  k = ceil((n + 1) (1 - alpha / 2)),

cut to the labels' range. If the clip that is asked about is exchangeable with the n, y lies within with probability
(2 k - n - 1) / (n + 1) >= 1 - alpha where residuals do not tie, and no less where they do. That is the mean over draws
of the n clips. Where labels are -1 and 1, predictions are logits, and ŷ stands for the expected label tanh(logit / 2)
in the interval. Of one draw the coverage is Beta(2 k - n - 1, 2 n + 2 - 2 k): with 229 clips its deviation is 2 %.

Probability (Platt, Probabilistic outputs for support vector machines, 1999): logistic regression of the label's sign on
ŷ, whose targets are (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2) in place of 1 and 0; labels of 0 are left out. It never falls
as ŷ rises: where the best slope is negative, it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from imer_ray.data.label_scale import LABEL_LIMITS
from imer_ray.data.missing import PATTERNS
from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import read_shape
from imer_ray.evaluation.validation_file import read_validation

Floats = NDArray[np.float64]
ALPHA = 0.1
LEVEL = round(100 * (1 - ALPHA))  # percent of an interval
MIN_CLIPS = math.ceil(2 / ALPHA) - 1  # k exceeds n of fewer: no clip's residual would bound a side
MIN_OF_SIGN = 10  # labels of either sign: ten events a coefficient (Peduzzi et al., J. Clin. Epidemiol. 49, 1996)
MAX_NEWTON = 100
_TINY = 1e-10


@dataclass(frozen=True)
class Logistic:
    """P(y > 0 | ŷ) = 1 / (1 + exp(-(slope ŷ + intercept))), slope >= 0."""

    slope: float
    intercept: float

    @classmethod
    def fit(cls, values: Floats, positive: NDArray[np.bool_]) -> Logistic:
        """By Newton's method with halved steps (Lin, Lin and Weng, Machine Learning 68, 2007), which ends whatever the
        values are; ``values`` and ``positive`` are [n], n >= 1."""
        num_positive, num_negative = int(positive.sum()), int((~positive).sum())
        targets = np.where(positive, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
        middle, scale = float(values.mean()), float(values.std())
        flat = cls(0.0, float(np.log(targets.mean() / (1 - targets.mean()))))  # the optimum among slopes of 0
        if not scale > _TINY * max(1.0, abs(middle)):
            return flat
        x = np.stack([(values - middle) / scale, np.ones_like(values)], 1)
        w = np.array([0.0, flat.intercept])
        for _ in range(MAX_NEWTON):
            p = expit(x @ w)
            gradient = x.T @ (p - targets)
            if np.abs(gradient).max() < _TINY * len(values):
                break
            hessian = (x.T * (p * (1 - p))) @ x + _TINY * np.eye(2)
            step, size, loss = np.linalg.solve(hessian, gradient), 1.0, _loss(x @ w, targets)
            while _loss(x @ (w - size * step), targets) > loss - 1e-4 * size * float(gradient @ step) and size > _TINY:
                size /= 2
            if size <= _TINY:
                break
            w = w - size * step
        return cls(float(w[0] / scale), float(w[1] - w[0] * middle / scale)) if w[0] > 0 else flat

    def __call__(self, values: Floats) -> Floats:
        return expit(self.slope * values + self.intercept)


@dataclass(frozen=True)
class Spread:
    """Between which residuals 90 % of the labels lie: ``low`` and ``high``, infinite if there are too few to tell."""

    low: float
    high: float

    @classmethod
    def of(cls, residuals: Floats) -> Spread:
        """Of residuals [n], in any order."""
        n = len(residuals)
        k = rank(n)
        if k > n:
            return cls(-math.inf, math.inf)
        ordered = np.sort(residuals)
        return cls(float(ordered[n - k]), float(ordered[k - 1]))


def rank(n: int, alpha: float = ALPHA) -> int:
    """k = ceil((n + 1) (1 - alpha / 2)): the upper residual's place among n sorted ones, from 1; n + 1 if none will
    do."""
    return math.ceil((n + 1) * (1 - alpha / 2) - 1e-9)  # 20 * 0.95 is 19, not what rounding makes of it


@dataclass(frozen=True)
class Calibration:
    """What was learnt from the validation clips of one model, or of the mean over its seeds.

    Attributes:
        label_kind: "regression" (predictions are labels, in [-3, 3]) or "binary" (-1 and 1; predictions are logits).
        spreads, logistics: pattern -> its own, or that of all patterns together.
        notes: a sentence for each pattern that has not its own: how few clips there are, and what stands in.
    """

    label_kind: str
    spreads: Mapping[str, Spread]
    logistics: Mapping[str, Logistic]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, labels: NDArray, predictions: Mapping[str, NDArray], label_kind: str) -> Calibration:
        """From validation clips that the model was not trained on.

        Args:
            labels: [N], NaN where a clip has none.
            predictions: {pattern: [N]} of all seven, NaN where a clip was recorded without all of the pattern.
        """
        y = np.asarray(labels, np.float64)
        values = {pattern: np.asarray(predictions[pattern], np.float64) for pattern in PATTERNS}
        known = {pattern: np.isfinite(y) & np.isfinite(values[pattern]) for pattern in PATTERNS}
        read = {pattern: (values[pattern][rows], y[rows]) for pattern, rows in known.items()}
        together, truth_of_all = (np.concatenate(parts) for parts in zip(*read.values(), strict=True))
        num_clips = int(np.any(list(known.values()), 0).sum())
        all_residuals = truth_of_all - _expected(together, label_kind)
        spread_of_all = Spread.of(all_residuals) if num_clips >= MIN_CLIPS else Spread(-math.inf, math.inf)
        logistic_of_all = _logistic(together, truth_of_all)
        spreads, logistics, notes = {}, {}, list[str]()
        for pattern, (own, truth) in read.items():
            of_sign = min(int((truth > 0).sum()), int((truth < 0).sum()))
            spreads[pattern] = (
                spread_of_all if len(truth) < MIN_CLIPS else Spread.of(truth - _expected(own, label_kind))
            )
            logistics[pattern] = logistic_of_all if of_sign < MIN_OF_SIGN else _logistic(own, truth)
            notes += _notes(pattern, len(truth), of_sign, num_clips)
        return cls(label_kind, spreads, logistics, tuple(notes))

    def interval(self, pattern: str, values: NDArray) -> tuple[Floats, Floats]:
        """Ends [B] of the 90 % intervals of the labels of predictions ``values`` [B], within the labels' range."""
        y, spread, limits = _expected(values, self.label_kind), self.spreads[pattern], LABEL_LIMITS[self.label_kind]
        return np.clip(y + spread.low, *limits), np.clip(y + spread.high, *limits)

    def probability_positive(self, pattern: str, values: NDArray) -> Floats:
        """P(label > 0) [B], of labels that are not 0, for predictions ``values`` [B]."""
        return self.logistics[pattern](np.asarray(values, np.float64))


def _expected(values: NDArray, label_kind: str) -> Floats:
    """The labels that predictions expect: of binary ones 2 P(y = 1) - 1, P = 1 / (1 + exp(-logit))."""
    y = np.asarray(values, np.float64)
    return np.tanh(y / 2) if label_kind == "binary" else y


def _logistic(values: Floats, truth: Floats) -> Logistic:
    """Of the labels that are not 0; without any, either sign is as likely."""
    signed = truth != 0
    return Logistic.fit(values[signed], truth[signed] > 0) if signed.any() else Logistic(0.0, 0.0)


def _loss(z: Floats, targets: Floats) -> float:
    """Cross entropy of log odds z: log(1 + e^z) - t z."""
    return float((np.logaddexp(0, z) - targets * z).sum())


def _notes(pattern: str, count: int, of_sign: int, num_clips: int) -> Iterator[str]:
    clips = f"{count} labelled validation clip{'s' * (count != 1)}"
    if num_clips < MIN_CLIPS:
        yield (
            f"{pattern}: {clips}, and {num_clips} of all patterns, where an interval needs {MIN_CLIPS}: it is the "
            "whole range of labels"
        )
    elif count < MIN_CLIPS:
        yield f"{pattern}: {clips}, where an interval needs {MIN_CLIPS}: it is that of all patterns together"
    if of_sign < MIN_OF_SIGN:
        yield (
            f"{pattern}: {of_sign} labelled validation clip{'s' * (of_sign != 1)} of the rarer sign, where a "
            f"probability needs {MIN_OF_SIGN}: it is that of all patterns together"
        )


def read_calibration(folders: Sequence[Path]) -> Calibration | None:
    """Of the model whose prediction is the mean over the seeds in ``folders``; None if one of them has no
    ``validation.safetensors``, as folders of older versions.

    Raises:
        UserError: such a file is damaged, or the seeds were validated on different clips.
    """
    read = [read_validation(folder) for folder in folders]
    found = [one for one in read if one is not None]
    if len(found) < len(folders):
        return None
    for folder, one in zip(folders, found, strict=True):
        if not np.array_equal(one.labels, found[0].labels, equal_nan=True):
            raise UserError(
                f"{folders[0]} and {folder} were validated on different clips, so that their mean has no interval: "
                "train both on the same data, or open one of them"
            )
    means = {pattern: np.mean([one.predictions[pattern] for one in found], 0) for pattern in PATTERNS}
    return Calibration.of(found[0].labels, means, read_shape(folders[0])["label_kind"])

"""Intervals over seeds and tests of paired differences over seeds and clips.

Seeds are a sample of trainings and clips a sample of people talking; both are shared by the systems that are compared
(same seeds, same clips, same masks), and a difference should outlive another draw of either. That is the setting of
readers and cases in diagnostic imaging, whose test is used here with seeds as readers and clips as cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
NUM_GROUPS = 50  # of clips that the jackknife leaves out in turn
GROUPS_SEED = 2026

Floats = NDArray[np.float64]


def half_width(values: Sequence[float], level: float = LEVEL) -> float:
    """Half the width of the confidence interval of a mean over seeds, NaN for a single one.

    h = t_{S-1, (1 + level) / 2} s / sqrt(S), with s the standard deviation (n - 1) of the S values (Student, The
    probable error of a mean, Biometrika 1908).
    """
    size = len(values)
    if size < 2:
        return math.nan
    return float(stdtrit(size - 1, (1 + level) / 2) * np.std(values, ddof=1) / math.sqrt(size))


def jackknife(statistics: Callable[[NDArray[np.bool_]], Mapping[str, float]], num_clips: int) -> dict[str, Floats]:
    """{statistic: values [G] without the clips of each group}; NaN where it cannot be computed without them.

    Clips are dealt to G = min(N, 50) groups at random from a seed of its own, so that they are the same for every
    system. ``statistics(kept [N])`` computes the statistics of the clips where ``kept`` is True.
    """
    num_groups = min(num_clips, NUM_GROUPS)
    group = np.random.default_rng(GROUPS_SEED).permutation(num_clips) % num_groups
    found = [statistics(group != g) for g in range(num_groups)]
    names = dict.fromkeys(name for one in found for name in one)
    return {name: np.array([one.get(name, math.nan) for one in found]) for name in names}


def paired_p_value(differences: Floats, replicates: Floats) -> float:
    """Two-sided p-value that the expected difference between two systems is 0, over new seeds and new clips.

    With D_s the difference with seed s and C the jackknife covariance [S, S] of the D_s over clips,

        t = mean(D) / sqrt(V),  V = var(D) / S + max(0, mean of C_st over s != t),
        degrees of freedom V^2 / ((var(D) / S)^2 / (S - 1) + cov^2 / (G - 1)).

    Without spread over clips this is the paired t-test over seeds; with a single seed C_11 is the variance, and only
    clips are a sample. Obuchowski and Rockette, Communications in Statistics 1995; degrees of freedom after Hillis,
    Statistics in Medicine 2007, with Satterthwaite's term for the covariance, which is estimated as well.

    Args:
        differences: D [S] of a metric, one per seed, ours minus theirs.
        replicates: the same [S, G] without each group of clips, as `jackknife` gives them.
    """
    variance, freedom = _variance(differences, replicates)
    if math.isnan(variance):
        return math.nan
    mean = float(np.mean(differences))
    if variance <= 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(freedom, -abs(mean) / math.sqrt(variance)))


def paired_half_width(differences: Floats, replicates: Floats, level: float = LEVEL) -> float:
    """Half the width of the confidence interval of the expected difference, over new seeds and new clips.

    h = t_{freedom, (1 + level) / 2} sqrt(V), with V and the degrees of freedom of `paired_p_value`, so that 0 lies in
    mean(D) -+ h where that p-value is above 1 - level. With a metric of one system in place of differences it is that
    metric's own interval. NaN where a number is.

    Args:
        differences, replicates: as in `paired_p_value`.
    """
    variance, freedom = _variance(differences, replicates)
    return float(stdtrit(freedom, (1 + level) / 2) * math.sqrt(variance)) if variance > 0 else variance


def _variance(differences: Floats, replicates: Floats) -> tuple[float, float]:
    """V of the mean difference and its degrees of freedom (see `paired_p_value`); NaN where a number is."""
    if not (np.isfinite(differences).all() and np.isfinite(replicates).all()):
        return math.nan, math.nan
    size, groups = replicates.shape
    covariance = (groups - 1) * np.atleast_2d(np.cov(replicates, bias=True))
    if size == 1:
        return float(covariance[0, 0]), groups - 1.0
    of_seeds = float(np.var(differences, ddof=1)) / size
    of_clips = max(0.0, float(covariance[~np.eye(size, dtype=bool)].mean()))
    spread = of_seeds**2 / (size - 1) + of_clips**2 / (groups - 1)
    variance = of_seeds + of_clips
    return variance, variance**2 / spread if spread > 0 else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted so that rejecting those below alpha makes any false rejection at most alpha likely.

    The i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_j). Holm, A simple sequentially rejective
    multiple test procedure, Scandinavian Journal of Statistics 1979. What is NaN was not tested and stays NaN.
    """
    tested = sorted((p, name) for name, p in p_values.items() if not math.isnan(p))
    adjusted, highest = dict(p_values), 0.0
    for i, (p, name) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - i) * p))
        adjusted[name] = highest
    return adjusted

"""The middle of repeated readings: which of them to leave out, and how sure their median is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

CUT = 3.0  # robust standard deviations
CONSISTENT = 1.4826  # 1 / Phi^-1(3/4): makes the MAD of normal readings estimate their standard deviation
CONFIDENCE = 0.95
MIN_READINGS = 6  # the fewest whose range holds the median with 95 %: 1 - 2 / 2^6 = 0.97


def without_outliers(readings: Sequence[float]) -> list[int]:
    """Indices of the readings x_i > 0 with |ln x_i - m| <= 3 s.

    m is the median of ln x and s = 1.4826 median |ln x_i - m|; logarithms, so that twice as slow is as far off as twice
    as fast. At least half of the readings stay; all do where more than half are equal.

    References:
        Hampel, 1974, The influence curve and its role in robust estimation, J. Am. Stat. Assoc. 69, section 5.
        Leys et al., 2013, Detecting outliers, J. Exp. Soc. Psychol. 49 (the cut at 3).
    """
    logs = [math.log(reading) for reading in readings]
    middle = statistics.median(logs)
    deviations = [abs(log - middle) for log in logs]
    spread = CONSISTENT * statistics.median(deviations)
    return [i for i, deviation in enumerate(deviations) if spread == 0 or deviation <= CUT * spread]


def median_interval(readings: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, whatever the distribution: the readings x_(k) and x_(n+1-k) in order.

    k is the largest number with P(Bin(n, 1/2) < k) <= 0.025. Fewer than `MIN_READINGS` readings have no such k; their
    range is returned, which holds the median with 1 - 2^(1-n) only.

    References:
        Thompson, 1936, On confidence ranges for the median and other expectation distributions, Ann. Math. Stat. 7.
    """
    ordered, n = sorted(readings), len(readings)
    k, below = 0, 1.0  # below = 2^n P(Bin(n, 1/2) <= k)
    while below <= (1 - CONFIDENCE) / 2 * 2**n:
        k += 1
        below += math.comb(n, k)
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]

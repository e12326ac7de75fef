"""Which settings matter for an objective: the share of its variance that each explains alone, and what chance would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MIN_POINTS = 8
MAX_GROUPS = 6  # of numbers with more values than these, neighbours are put together
NUM_SHUFFLES = 400
LEVEL = 0.05  # how often chance alone may pass for a setting that matters, over all settings of an objective
SEED = 0  # of the shuffles

Floats = NDArray[np.float64]


def importances(
    settings: pd.DataFrame, objective: Sequence[float], trials: Sequence[int] | None = None
) -> pd.DataFrame:
    r"""Of each setting the share of the objective's variance that it explains alone, beside what chance explains.

    With the points grouped by a setting's value (a choice is a category, be it of numbers; a number with more than
    `MAX_GROUPS` values is cut at its quantiles, so that a range's scale does not matter),

        eta^2 = sum_g n_g (mean_g - mean)^2 / sum_i (y_i - mean)^2,     share = max(0, (eta^2 - m) / (1 - m)),

    m the mean of eta^2 over shuffles of the objective; where points are independent, this is Kelley's epsilon^2 (An
    unbiased correlation ratio measure, PNAS 1935). A setting that only some points have is looked at among these (g and
    the first mean), as a share of the whole variance; so what a setting and those below it explain is never counted
    twice. Points of a trial share what was trained: shuffled are the trials' means, and the rest within each trial.

    A setting is ``told`` from chance if its (eta^2 - m) / s, s the deviation over shuffles, is beyond the highest of
    all settings in all but `LEVEL` of the shuffles (Westfall and Young, Resampling-Based Multiple Testing, 1993).

    Optuna's PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255) asks instead what tells the best points from the rest.
    It bins a number on its range's scale, which has to be guessed from points, and has no measure of chance.

    Shares are of what the points show: settings that a searcher always tried together share what they explain, and what
    only their combination explains is in none.

    Args:
        settings: one row per point, one column per searched setting; missing where a condition switched it off.
        objective: [N], finite.
        trials: [N], each point's trial; by default each is one of its own.

    Returns:
        ``share`` and ``told`` by setting, highest first; empty below `MIN_POINTS` points or if no setting varies.
    """
    varying = {name: groups for name in settings if (groups := _groups(settings[name])) is not None}
    if len(settings) < MIN_POINTS or not varying:
        return pd.DataFrame({"share": pd.Series(dtype=float), "told": pd.Series(dtype=bool)})
    y = np.asarray(objective, dtype=float)
    y = y - y.mean()
    if (total := float((y**2).sum())) <= 1e-24 * len(y) * max(1.0, float(np.abs(objective).max())) ** 2:
        return pd.DataFrame({"share": 0.0, "told": False}, index=list(varying))
    shuffled = _shuffles(y, np.arange(len(y)) if trials is None else np.unique(trials, return_inverse=True)[1])
    found = np.array([float(_explained(y[None], groups)[0]) for groups in varying.values()]) / total
    by_chance = np.stack([_explained(shuffled, groups) for groups in varying.values()])
    by_chance /= ((shuffled - shuffled.mean(1, keepdims=True)) ** 2).sum(1)
    mean, spread = by_chance.mean(1), np.maximum(by_chance.std(1), 1e-12)
    highest = ((by_chance - mean[:, None]) / spread[:, None]).max(0)
    as_high = (highest >= ((found - mean) / spread)[:, None] - 1e-9).sum(1)
    table = pd.DataFrame(
        {
            "share": np.maximum(0.0, (found - mean) / np.maximum(1.0 - mean, 1e-12)),
            "told": (1 + as_high) / (1 + NUM_SHUFFLES) <= LEVEL,
        },
        index=list(varying),
    )
    return table.sort_values("share", ascending=False, kind="stable")


def _groups(column: pd.Series) -> NDArray[np.int64] | None:
    """[N]: which group each point is in, -1 where it has no value; None if it never varies among those that have one.

    A setting that is there or not says what its condition says, and has nothing to say beside it.
    """
    values = column[column.notna()]
    if values.nunique() < 2:
        return None
    groups = np.full(len(column), -1)
    numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numbers and values.nunique() > MAX_GROUPS:
        inner = np.quantile(values.astype(float), np.linspace(0, 1, MAX_GROUPS + 1)[1:-1])
        groups[column.notna()] = np.searchsorted(np.unique(inner), values.astype(float), side="left")
    else:
        groups[column.notna()] = pd.factorize(values.astype(str))[0]
    return groups


def _explained(y: Floats, groups: NDArray[np.int64]) -> Floats:
    """[R]: sum of squares between the groups, of each row of y [R, N], among the points that are in one."""
    members = (groups[:, None] == np.unique(groups[groups >= 0])).astype(float)
    sizes = members.sum(0)
    sums = y @ members
    between = (sums**2 / sizes).sum(1) - sums.sum(1) ** 2 / sizes.sum()
    return np.maximum(between, 0.0)


def _shuffles(y: Floats, trials: NDArray[np.int64]) -> Floats:
    """[R, N]: y with the trials' means dealt anew among the trials, and the rest within each of them."""
    rng = np.random.default_rng(SEED)
    sizes = np.bincount(trials)
    means = np.bincount(trials, y) / sizes
    rest = y - means[trials]
    order = np.argsort(trials, kind="stable")
    shuffled = np.empty((NUM_SHUFFLES, len(y)))
    for row in shuffled:
        within = np.lexsort((rng.random(len(y)), trials))  # the trials in order, their points in any
        row[order] = rest[within]
        row += rng.permutation(means)[trials]
    return shuffled

"""Points that were run with several seeds: the mean of each, with its interval.

Every mean is taken where its measure is drawn: of times and other costs, which are compared as ratios, it is the
geometric mean, so that the point with the better mean is the one with the better mean objective.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from imer_ray.results.schema import COSTS, METRIC_PREFIX, OBJECTIVE_PREFIX

LEVEL = 0.95
NUM_SEEDS = "num_seeds"
KEY = ["trial", "point"]


def is_repeat(frame: pd.DataFrame) -> pd.Series:
    """Which rows run a point once more, with a seed that is not the study's."""
    return pd.to_numeric(frame["repeat"]).fillna(0) > 0


def bounds(column: str) -> tuple[str, str]:
    """The columns with the ends of a measure's interval."""
    return f"{column}.low", f"{column}.high"


def averaged(complete: pd.DataFrame, with_interval: Sequence[str]) -> pd.DataFrame:
    """One row per point: its own row, with the mean over its seeds in place of every measure.

    Beside it stand ``num_seeds`` and, for the columns in ``with_interval``, the ends of the interval of the mean,

        m -+ t_{n-1, 0.975} s / sqrt(n),

    of the logarithm where the mean is geometric; NaN with one seed (Student, The probable error of a mean, Biometrika
    1908). The seeds of a point that were not complete are not among the n; a point whose own run was not is left out.

    Args:
        complete: rows that are complete, several of a point.
    """
    repeated = is_repeat(complete)
    own = complete[~repeated].copy()
    own[NUM_SEEDS] = 1
    own[[end for column in with_interval for end in bounds(column)]] = np.nan
    if not repeated.any():
        return own
    measures = [column for column in complete if is_measure(column)]
    values = complete[measures].astype(float)
    logs = [column for column in measures if column in COSTS and (values[column].dropna() > 0).all()]
    key = [pd.to_numeric(complete[column]).fillna(0) for column in KEY]
    groups = values.assign(**{column: np.log(values[column]) for column in logs}).groupby(key)
    mean, count, first = groups.mean(), groups.size(), values.groupby(key).first()
    half = groups.std().mul(stdtrit(np.maximum(count - 1, 1), 0.5 + LEVEL / 2) / np.sqrt(count), axis=0)
    same = groups.max() == groups.min()  # the mean of equal numbers is not always, to the last bit, their value
    index = pd.MultiIndex.from_arrays([column[own.index] for column in key])
    several = (count.loc[index] > 1).to_numpy()
    own[NUM_SEEDS] = count.loc[index].to_numpy()
    for column in measures:
        made = {column: mean[column]}
        if column in with_interval:
            low, high = bounds(column)
            made |= {low: mean[column] - half[column], high: mean[column] + half[column]}
        for name, of_point in made.items():
            found = (np.exp(of_point) if column in logs else of_point).mask(same[column], first[column])
            own.loc[several, name] = found.loc[index].to_numpy()[several]
    return own


def is_measure(column: str) -> bool:
    return column in COSTS or column.startswith((OBJECTIVE_PREFIX, METRIC_PREFIX))


def on_each_seed(complete: pd.DataFrame, points: pd.DataFrame, columns: Sequence[str]) -> tuple[NDArray, NDArray]:
    """The measures [S, N, K] of N points with each of S seeds, and which of them were run [S, N].

    A point that was not run with a seed stands there with its mean: the others are compared with what is known of it.

    Args:
        complete: rows that are complete. points: their means, as `averaged` gives them. columns: K measures.
    """
    seeds = sorted(complete["seed"].dropna().unique())
    place = {tuple(key): i for i, key in enumerate(points[KEY].to_numpy())}
    values = np.repeat(points[list(columns)].to_numpy(float)[None], len(seeds), axis=0)
    ran = np.zeros(values.shape[:2], dtype=bool)
    for seed, *key, measured in zip(
        complete["seed"], *(complete[column] for column in KEY), complete[list(columns)].to_numpy(float), strict=True
    ):
        at = place.get(tuple(key))
        if at is not None and not pd.isna(seed):
            values[seeds.index(seed), at], ran[seeds.index(seed), at] = measured, True
    return values, ran

"""Where a study's points cross the axes of a parallel-coordinates plot, for the figure and for the page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imer_ray.analysis.labels import ABSENT, number, setting, short
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.study import Study

ABSENT_AT = -0.13  # below the axis: the setting's condition does not hold
MAX_NUMBERS_AS_CATEGORIES = 8  # whole numbers only
MAX_LINES = 400  # behind the front's: more make a grey area, and a browser slow


@dataclass(frozen=True)
class ParallelAxis:
    """One vertical axis: heights [N] of the points in [0, 1] (or `ABSENT_AT`) and its ticks, height -> text."""

    label: str
    heights: NDArray[np.float64]
    ticks: dict[float, str]


def axes(study: Study, settings: list[str]) -> list[ParallelAxis]:
    """An axis for each setting, then the objectives with better at the top."""
    points = study.points
    out = [_setting_axis(short(path), points[CONFIG_PREFIX + path]) for path in settings]
    for axis in study.axes:
        out.append(_number_axis(axis.name, points[axis.column].astype(float), axis.log, not axis.higher_is_better))
    return out


def sample(behind: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which of the points that are ``behind`` the front [N] have a line, spread evenly over all of them."""
    found = behind.nonzero()[0]
    return found[np.linspace(0, len(found) - 1, min(len(found), MAX_LINES)).round().astype(int)]


def _setting_axis(label: str, column: pd.Series) -> ParallelAxis:
    values = column.dropna()
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and (values.nunique() > MAX_NUMBERS_AS_CATEGORIES or (values % 1 != 0).any()):
        low, high = values.min(), values.max()
        return _number_axis(label, column.astype(float), log=low > 0 and high >= 10 * low)
    known = sorted(values.unique()) if numeric else sorted(values.unique(), key=str)
    places = dict(zip(known, np.linspace(0, 1, len(known)) if len(known) > 1 else [0.5], strict=True))
    ticks = {float(place): setting(value) for value, place in places.items()}
    return _with_absent(label, column.map(places).astype(float), ticks)


def _number_axis(label: str, column: pd.Series, log: bool, flipped: bool = False) -> ParallelAxis:
    values = np.log(column) if log else column
    low, high = float(values.min()), float(values.max())
    span = high - low if high > low else 1.0
    heights = (values - low) / span if high > low else values * 0 + 0.5
    if flipped:
        heights = 1 - heights
    at = np.linspace(0, 1, 5 if high > low else 1)
    worth = low + span * (1 - at if flipped else at)
    ticks = {float(place): number(np.exp(value) if log else value) for place, value in zip(at, worth, strict=True)}
    return _with_absent(label, heights, ticks)


def _with_absent(label: str, heights: pd.Series, ticks: dict[float, str]) -> ParallelAxis:
    if heights.isna().any():
        ticks = {ABSENT_AT: ABSENT, **ticks}
    return ParallelAxis(label, heights.fillna(ABSENT_AT).to_numpy(float), ticks)

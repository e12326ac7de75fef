"""A space's configurations as rows of numbers, for models and for the search of what they think best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from imer_ray.tuning.space.space import Parameter

MAX_LEVELS = 1000  # of a range: one with more values is taken for continuous

Rows = NDArray[np.float64]  # [N, D]; NaN where a configuration does not have the parameter


class Column:
    """One parameter. A number lies in [0, 1], as its range (linear or logarithmic) has it; a choice is its place.

    Choices that are all numbers are ordered, and lie in [0, 1] at equal distances.

    Attributes:
        categorical: its values have no order.
        values: all of them, in order, or None if they are too many.
        levels: their numbers.
        shares: [L] of uniform draws, the share that is not above each.
    """

    values: Sequence[Any] | None
    levels: NDArray[np.float64]
    shares: NDArray[np.float64]

    def __init__(self, distribution: BaseDistribution) -> None:
        self._distribution = distribution
        self.values = _values(distribution)
        self.categorical = False
        if self.values is None:
            return
        number = len(self.values)
        self.shares = np.arange(1, number + 1) / number
        if isinstance(distribution, CategoricalDistribution):
            self.categorical = not _are_numbers(distribution.choices)
            self.levels = np.arange(number) / (1 if self.categorical else max(1, number - 1))
        else:
            self.levels = np.array([self._position(value) for value in self.values])
            if isinstance(distribution, IntDistribution) and distribution.log:
                low, high = distribution.low, distribution.high
                self.shares = np.log((np.array(self.values) + 1) / low) / math.log((high + 1) / low)

    def number(self, value: Any) -> float:
        """Of one of its values."""
        if isinstance(self._distribution, CategoricalDistribution):
            assert self.values is not None
            return float(self.levels[self.values.index(value)])
        return self._position(value)

    def numbers(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of values drawn as the space's own distribution has it, from uniform numbers in [0, 1)."""
        if self.values is None:
            return uniform
        return self.levels[np.minimum(np.searchsorted(self.shares, uniform, side="right"), len(self.values) - 1)]

    def value(self, number: float) -> Any:
        if self.values is not None:
            return self.values[int(np.abs(self.levels - number).argmin())]
        d = self._distribution
        assert isinstance(d, (FloatDistribution, IntDistribution))
        value = d.low * (d.high / d.low) ** number if d.log else d.low + number * (d.high - d.low)
        if d.step is not None:
            value = d.low + round((value - d.low) / d.step) * d.step
        value = min(d.high, max(d.low, value))
        return int(value) if isinstance(d, IntDistribution) else float(value)

    def _position(self, value: float) -> float:
        d = self._distribution
        assert isinstance(d, (FloatDistribution, IntDistribution))
        if d.single():
            return 0.0
        if d.log:
            return math.log(value / d.low) / math.log(d.high / d.low)
        return (value - d.low) / (d.high - d.low)


class Encoding:
    """Of configurations that have these parameters, conditions before what they condition."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = tuple(parameters)
        self.columns = [Column(parameter.distribution) for parameter in parameters]
        self.has_continuous = any(column.values is None for column in self.columns)
        self._place = {parameter.path: place for place, parameter in enumerate(parameters)}
        self._conditions = [
            [
                (self._place[path], [self.columns[self._place[path]].number(value) for value in allowed])
                for path, allowed in parameter.when.items()
            ]
            for parameter in parameters
        ]

    def rows(self, configurations: Sequence[Mapping[str, Any]]) -> Rows:
        """[N, D] of configurations; what one does not have is absent."""
        table = np.full((len(configurations), len(self.columns)), np.nan)
        for row, values in zip(table, configurations, strict=True):
            for path, value in values.items():
                if (place := self._place.get(path)) is not None:
                    row[place] = self.columns[place].number(value)
        return table

    def values(self, row: NDArray[np.float64]) -> dict[str, Any]:
        return {
            parameter.path: column.value(number)
            for parameter, column, number in zip(self._parameters, self.columns, row, strict=True)
            if not np.isnan(number)
        }

    def draw(self, uniform: NDArray[np.float64]) -> Rows:
        """[N, D] of independent draws, from uniform numbers [N, D]."""
        return self.settled(np.full(uniform.shape, np.nan), uniform)

    def settled(self, rows: Rows, uniform: NDArray[np.float64]) -> Rows:
        """The rows with just the parameters that their other values give them; what they lack is drawn."""
        rows = rows.copy()
        for place, (column, conditions) in enumerate(zip(self.columns, self._conditions, strict=True)):
            exists = np.ones(len(rows), dtype=bool)
            for other, allowed in conditions:
                exists &= np.isin(rows[:, other], allowed)
            lacking = exists & np.isnan(rows[:, place])
            rows[lacking, place] = column.numbers(uniform[lacking, place])
            rows[~exists, place] = np.nan
        return rows

    def features(self, rows: Rows) -> NDArray[np.float64]:
        """[N, E] for a model, which wants a number everywhere. A unit apart are the ends of a range, and two choices.

        An absent number stands at the middle of its range, an absent choice is one of its own (Hutter et al., 2011,
        section 4.1).
        """
        parts = []
        for column, numbers in zip(self.columns, rows.T, strict=True):
            absent = np.isnan(numbers)
            if column.categorical:
                chosen = np.where(absent, len(column.levels), numbers).astype(int)
                parts.append(np.eye(len(column.levels) + 1)[chosen] * math.sqrt(0.5))
            else:
                parts.append(np.where(absent, 0.5, numbers)[:, None])
        return np.hstack(parts)

    @property
    def owners(self) -> NDArray[np.intp]:
        """[E] the column that each feature belongs to."""
        widths = [len(column.levels) + 1 if column.categorical else 1 for column in self.columns]
        return np.repeat(np.arange(len(widths)), widths)


def _values(distribution: BaseDistribution) -> Sequence[Any] | None:
    if isinstance(distribution, CategoricalDistribution):
        return sorted(distribution.choices) if _are_numbers(distribution.choices) else list(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    if distribution.step is None:
        return [distribution.low] if distribution.single() else None
    number = round((distribution.high - distribution.low) / distribution.step) + 1
    if number > MAX_LEVELS:
        return None
    return [distribution.low + place * distribution.step for place in range(number)]


def _are_numbers(choices: Sequence[Any]) -> bool:
    return all(isinstance(choice, (int, float)) and not isinstance(choice, bool) for choice in choices)

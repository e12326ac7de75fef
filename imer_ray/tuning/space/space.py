"""A search space: distributions over configuration paths, some of which exist only under conditions on others."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


class Suggester(Protocol):
    """The part of an Optuna trial that proposes values."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One searched configuration path.

    Attributes:
        when: path of another parameter -> values of it under which this one exists; all must hold. A parameter that
            does not exist itself has no value, so conditions chain.
        prior: the value that its user believes in; None: none.
    """

    path: str
    distribution: Distribution
    when: Mapping[str, tuple[Any, ...]]
    prior: Any = None

    def exists(self, values: Mapping[str, Any]) -> bool:
        return all(path in values and values[path] in allowed for path, allowed in self.when.items())

    def ends(self) -> tuple[Any, ...]:
        """The values whose configurations must build: both ends of a range, every choice."""
        d = self.distribution
        return d.choices if isinstance(d, CategoricalDistribution) else (d.low, d.high)

    def holds(self, value: Any) -> bool:
        """Whether the searcher could propose the value."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return value in d.choices
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not d.low <= value <= d.high:
            return False
        return d.step is None or abs((value - d.low) / d.step - round((value - d.low) / d.step)) < 1e-8


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a study searches.

    Attributes:
        name: as the user gave it.
        text: the file's content, copied into the study's folder.
        parameters: conditions before what they condition.
        points: proposed first, in this order; what a point leaves open the searcher chooses.
    """

    name: str
    text: str
    parameters: tuple[Parameter, ...]
    points: tuple[Mapping[str, Any], ...] = ()

    @property
    def priors(self) -> dict[str, Any]:
        """Path -> the value that is believed in, of those that have one."""
        return {p.path: p.prior for p in self.parameters if p.prior is not None}

    @property
    def believed(self) -> dict[str, Any]:
        """The point of all values that are believed in and exist together; what it leaves open the searcher chooses."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.prior is not None and parameter.exists(values):
                values[parameter.path] = parameter.prior
        return values

    @functools.cached_property
    def definition(self) -> dict[str, Any]:
        """Path -> distribution and conditions as JSON values: all that a study's trials must have in common."""
        return {
            p.path: {
                **json.loads(distribution_to_json(p.distribution)),
                "when": {path: list(allowed) for path, allowed in sorted(p.when.items())},
            }
            for p in sorted(self.parameters, key=lambda p: p.path)
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (first 32 hex digits) of the definition; comments, order, points and priors do not matter."""
        text = json.dumps(self.definition, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def suggest(self, trial: Suggester) -> dict[str, Any]:
        """Define-by-run: ask ``trial`` for every parameter that exists under the values chosen before it."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.exists(values):
                values[parameter.path] = _suggest(trial, parameter)
        return values

    def sample(self, rng: random.Random) -> dict[str, Any]:
        """Independent uniform draws (in the logarithm where the range says log)."""
        return self.suggest(Uniform(rng))

    def distributions(self, values: Mapping[str, Any]) -> dict[str, Distribution]:
        """The distributions of the parameters that have a value."""
        return {p.path: p.distribution for p in self.parameters if p.path in values}

    def locate(self, flat: Mapping[str, Any]) -> dict[str, Any] | None:
        """The parameters' values in a configuration ``{path: value}``, or None if it lies outside the space."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.exists(values):
                if parameter.path not in flat or not parameter.holds(flat[parameter.path]):
                    return None
                values[parameter.path] = flat[parameter.path]
        return values


def _suggest(trial: Suggester, parameter: Parameter) -> Any:
    d = parameter.distribution
    if isinstance(d, CategoricalDistribution):
        return trial.suggest_categorical(parameter.path, d.choices)
    if isinstance(d, IntDistribution):
        return trial.suggest_int(parameter.path, d.low, d.high, step=d.step, log=d.log)
    return trial.suggest_float(parameter.path, d.low, d.high, step=d.step, log=d.log)


class Uniform:
    """A trial that draws uniformly what it is not given, without a study."""

    def __init__(self, rng: random.Random, given: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._rng = rng
        self._given = given

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._given[name] if name in self._given else self._rng.choice(choices)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        if name in self._given:
            return self._given[name]
        if step is not None:
            return low + step * self._rng.randint(0, round((high - low) / step))
        if log:
            return min(high, low * (high / low) ** self._rng.random())
        return self._rng.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        if name in self._given:
            return self._given[name]
        if log:
            return min(high, int(low * ((high + 1) / low) ** self._rng.random()))
        return self._rng.randrange(low, high + 1, step)

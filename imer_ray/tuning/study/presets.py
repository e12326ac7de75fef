"""Published systems as first proposals: their configurations, or what the search space has nearest to them."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import CategoricalDistribution

from imer_ray.config.compose import preset
from imer_ray.config.tree import flatten
from imer_ray.tuning.space.check import Configurations
from imer_ray.tuning.space.space import Parameter, Space


def nearest(name: str, space: Space, configurations: Configurations) -> tuple[dict[str, Any], list[str]]:
    """The point of a space that is nearest to a preset, and what had to be changed, as ``path from -> to``.

    A number that is not searched becomes the nearest that is (by ratio, where all are positive), a name that of the
    base configuration, or the first choice. What is not searched stays as in the base configuration.

    Raises:
        UserError: there is no such preset.
    """
    settings = preset(name)
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.exists(values):
            here = flatten(configurations.build(values)).get(parameter.path)
            values[parameter.path] = _near(settings.get(parameter.path, here), here, parameter)
    found = flatten(configurations.build(values))
    changed = [
        f"{path} {value} -> {found[path]}" if path in found else f"no {path}"
        for path, value in settings.items()
        if found.get(path) != value
    ]
    return values, changed


def _near(wanted: Any, here: Any, parameter: Parameter) -> Any:
    d = parameter.distribution
    if parameter.holds(wanted):
        return wanted
    if isinstance(d, CategoricalDistribution):
        if _number(wanted) and all(map(_number, d.choices)):
            return min(d.choices, key=lambda choice: _distance(choice, wanted))
        return here if parameter.holds(here) else d.choices[0]
    if not _number(wanted):
        return d.low
    inside = min(max(wanted, d.low), d.high)
    stepped = inside if d.step is None else d.low + round((inside - d.low) / d.step) * d.step
    return type(d.low)(min(stepped, d.high))


def _distance(a: Any, b: Any) -> float:
    """By ratio between positive numbers, which are never near to others."""
    if a > 0 and b > 0:
        return abs(math.log(a / b))
    return math.inf if a > 0 or b > 0 else abs(a - b)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

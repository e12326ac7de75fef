"""Points for free: a walk over a grid, from a trial's own point to others that its trained recogniser has as well.

The grid has axes (`GridConfig`). Along an axis of numbers one line leads to ever smaller values and one
to ever larger ones; along an axis of names every other name is a line of its own. The walk asks for the point with the
fewest steps and draws, which is the quickest of the grid and costs least to score, then for the first point of each
line, and goes on along a line as long as something got better, see `improved`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imer_ray.config.experiment import GridConfig
from imer_ray.config.tree import get, replace
from imer_ray.results.schema import Objective
from imer_ray.stages.graph import Stage
from imer_ray.tuning.objectives.objectives import is_cost

if TYPE_CHECKING:  # trials read no space, and Optuna's import takes half a second
    from imer_ray.tuning.space.space import Parameter, Space

PATHS = {  # of the grid's axes, in the order in which they are walked
    "num_steps": "diffusion.num_steps",
    "num_draws": "diffusion.num_draws",
    "sampler": "diffusion.sampler",
    "guidance": "diffusion.guidance",
    "precision": "precision",
}
POWERS = (1, 2, 4, 8, 16, 32)  # of two: numbers whose next is worth a look; beyond 32 steps only slow samplers gain
Scores = tuple[float, ...]
"""The minimised objectives of a point: quality, speed, further ones."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where a trial's walk may go, and what its points are judged by.

    Attributes:
        axes: configuration path -> values.
        components: what `imer_ray.config.compose.replace` makes configurations from.
        objectives: quality, speed and further ones.
    """

    axes: Mapping[str, Sequence[Any]]
    components: Mapping[str, Any]
    objectives: Sequence[Objective]


Difference = Mapping[str, Any]
"""Configuration path -> value: how a point differs from the trial's own."""
Line = tuple[Difference, ...]
"""Points in a row, from the trial's own outwards."""


def axes(grid: GridConfig, space: Space) -> dict[str, tuple[Any, ...]]:
    """Path -> values of the axes: those that the settings ``evaluate.grid`` list, or else (None) the search space.

    So all points lie within the space, and what they reach is told to the searcher as well.
    """
    searched = {p.path: _values(p) for p in space.parameters}
    known = {PATHS["num_steps"]: POWERS, **searched}
    found = {path: getattr(grid, name) for name, path in PATHS.items()}
    return {path: tuple(known.get(path, ()) if values is None else values) for path, values in found.items()}


def _values(parameter: Parameter) -> tuple[Any, ...]:
    ends = parameter.ends()
    return ends if hasattr(parameter.distribution, "choices") else tuple(n for n in POWERS if ends[0] <= n <= ends[1])


def lines(tree: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> Iterator[Line]:
    """The least work first, then all lines from a configuration: downwards before upwards, names in their order."""
    least = {path: min(axes[path]) for path in (PATHS["num_steps"], PATHS["num_draws"]) if axes.get(path)}
    if any(value < get(tree, path) for path, value in least.items()):
        yield ({path: min(value, get(tree, path)) for path, value in least.items()},)
    for path, values in axes.items():
        own = get(tree, path)
        if path == PATHS["guidance"] and not get(tree, "diffusion.condition_dropout"):
            continue  # such networks never saw a clip without its condition
        if isinstance(own, str):
            yield from (({path: value},) for value in values if value != own)
            continue
        for line in (sorted({v for v in values if v < own}, reverse=True), sorted({v for v in values if v > own})):
            if line:
                yield tuple({path: value} for value in line)


def free_lines(tree: Mapping[str, Any], grid: Grid, graph_of: Callable[[Mapping[str, Any]], Stage]) -> list[Line]:
    """The lines as far as they need no other trained stage than the trial's own point, and lead to something new.

    Args:
        graph_of: the final stage of a configuration.
    """
    own = graph_of(tree)
    seen, found = {own.key}, []
    for line in lines(tree, grid.axes):
        free = []
        for difference in line:
            final = graph_of(replace(tree, difference, grid.components))
            if _trained(final) != _trained(own) or final.key in seen:
                break
            seen.add(final.key)
            free.append(difference)
        if free:
            found.append(tuple(free))
    return found


def _trained(final: Stage) -> dict[str, str]:
    return {role: stage.key for role, stage in final.inputs.items() if role != "cost"}


def improved(
    before: Scores, after: Scores, objectives: Sequence[Objective], tolerance: float, speed_tolerance: float
) -> bool:
    """Whether a point is worth more than the one that the walk came from, in any objective.

    Quality, and any other metric, must fall by more than ``tolerance``, so that noise neither leads the walk on nor
    counts as a loss: a point of equal quality is judged by its cost alone. Speed, and any other cost (logarithms to
    base 10), must fall by more than log10(1 + ``speed_tolerance``), which is how well it is known.
    """
    least = [math.log10(1 + speed_tolerance) if is_cost(objective) else tolerance for objective in objectives]
    return any(a - b > enough for a, b, enough in zip(before, after, least, strict=True))


def local_search(
    lines: Sequence[Line],
    own: Scores,
    ask: Callable[[Sequence[Difference]], Sequence[Scores | None]],
    max_points: int,
    goes_on: Callable[[Scores, Scores], bool],
) -> None:
    """Ask for at most ``max_points`` - 1 points beside the own one, in waves.

    A wave takes half of what is left, rounded up, so that something is left for the lines that prove worth following:
    those come first in the next wave. The others follow in their order.

    Args:
        lines: first come, first served.
        own: scores of the point that all lines start from.
        ask: the scores of points; None for one that failed.
        goes_on: whether the second scores, reached from the first, are worth a further step.
    """
    queue = deque((line, 0, own) for line in lines)
    left = max_points - 1
    while queue and left > 0:
        wave = [queue.popleft() for _ in range(min(len(queue), math.ceil(left / 2)))]
        left -= len(wave)
        found = ask([line[i] for line, i, _ in wave])
        further = [
            (line, i + 1, after)
            for (line, i, before), after in zip(wave, found, strict=True)
            if after is not None and i + 1 < len(line) and goes_on(before, after)
        ]
        queue.extendleft(reversed(further))

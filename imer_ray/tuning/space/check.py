"""Prove that the configurations of a search space exist and build, without running any."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any

from imer_ray.config.components import option, options
from imer_ray.config.resolve import component_groups, resolve
from imer_ray.config.tree import flatten, replace
from imer_ray.errors import UserError, hint
from imer_ray.tuning.space.space import Parameter, Space

# Paths that all trials of a study must share
FIXED: Mapping[str, str] = {
    "data": "all trials of a study must see the same data",
    "data_fingerprint": "all trials of a study must see the same data",
    "validation_fold": "all trials of a study must be scored on the same clips",
    "protocol": "all trials of a study must be scored under the same missing protocol",
    "seed": "a search over seeds picks the luckiest; `train` repeats a configuration over seeds",
    "speed": "all trials of a study must be timed in the same way",
    "evaluate": "it says which further points a trial gives, not what is trained",
    "plugins": "it says what may be chosen, not what is",
    "study": "it describes the search itself",
    "space": "it describes the search itself",
    "scaling": "it says where stages run, not what they compute",
}
NUM_SAMPLES = 64  # random configurations built beside the ends of all ranges
MAX_CONTEXTS = 256


@dataclass(frozen=True)
class Line:
    """Where something stands in a file, for messages."""

    file: str
    number: int

    def error(self, text: object) -> UserError:
        return UserError(f"{self.file}:{self.number}: {text}")


class Configurations:
    """A base configuration and those around it.

    Attributes:
        components: path -> option name -> node with defaults, of every component that may be searched.
    """

    def __init__(self, base: Mapping[str, Any]) -> None:
        self.base = dict(base)
        self.components = {
            path: {name: option(group, name) for name in options(group)}
            for path, group in component_groups()
            if path not in FIXED
        }
        self._flat = flatten(base)
        self._owners: dict[str, list[str]] = {}  # path inside a component -> options that have it
        for path, nodes in self.components.items():
            for name, node in nodes.items():
                for field in node.keys() - {"name", "_target_"}:
                    self._owners.setdefault(f"{path}.{field}", []).append(name)

    def check_path(self, path: str) -> None:
        """Raises UserError if the path does not exist under any choice of components, or may not be searched."""
        if reason := FIXED.get(path.partition(".")[0]):
            raise UserError(f"{path} cannot be searched: {reason}")
        known = {p for p in self._flat if p.partition(".")[0] not in FIXED} | self._owners.keys()
        if path not in known:
            inside = sorted(p for p in known if p.startswith(f"{path}."))
            advice = f"it has {', '.join(inside)}" if inside else hint(path, known)
            raise UserError(f"{path}: unknown key; {advice}")

    def build(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The resolved configuration with these values.

        Raises:
            UserError: a value is not one of its options, or a component refuses it.
        """
        chosen = {**self._flat, **values}
        for path, value in values.items():
            parent = path.rpartition(".")[0]
            if path in self.components and value not in self.components[path]:
                raise UserError(f"{path}={value}: unknown option; {hint(str(value), self.components[path])}")
            if parent in self.components and chosen[parent] not in self._owners[path]:
                owners = self._owners[path]
                needed = owners[0] if len(owners) == 1 else f"[{', '.join(owners)}]"
                advice = f"add when: {{{parent}: {needed}}}"
                raise UserError(f"{path} does not exist with {parent}={chosen[parent]}; {advice}")
        return resolve(replace(self.base, values, self.components))

    def value(self, path: str) -> Any:
        """The base configuration's value; None where the path does not exist in it."""
        return self._flat.get(path)


def check(space: Space, configurations: Configurations, lines: Mapping[str, Line]) -> Space:
    """The space with conditions before what they condition, and without parameters that can never exist.

    Args:
        lines: path -> where it stands in the file; also "points".

    Raises:
        UserError: with file and line.
    """
    parameters = {p.path: p for p in _ordered(space.parameters, lines)}
    for path, parameter in parameters.items():
        for value in parameter.ends():  # a value that is wrong by itself is said so before conditions are
            if path in configurations.components:
                _build(configurations, {path: value}, lines[path])
        _check_conditions(parameter, parameters, configurations, lines[path])
    for path, parameter in parameters.items():
        contexts = list(itertools.islice(_contexts(parameter, parameters), MAX_CONTEXTS))
        if not contexts:
            raise lines[path].error(f"{path}: its conditions cannot hold together")
        for context, value in itertools.product(contexts, parameter.ends()):
            _build(configurations, {**context, path: value}, lines[path])
    space = changed(space, parameters=tuple(_existing(parameters, configurations)))
    if not space.parameters:
        raise UserError(f"space={space.name}: none of its parameters exists under the given configuration")
    rng = random.Random(0)
    for _ in range(NUM_SAMPLES):
        try:
            configurations.build(values := space.sample(rng))
        except UserError as error:
            raise UserError(f"space={space.name}: {error} (with {_words(values)})") from error
    return changed(space, points=tuple(_point(point, space, configurations, lines) for point in space.points))


def _parents(path: str, parameters: Mapping[str, Parameter]) -> list[str]:
    """Searched paths that decide whether ``path`` exists: those it is conditioned on, and the component it is in."""
    inside = [p for p in parameters if path.startswith(f"{p}.")]
    return sorted({p for p in parameters[path].when if p in parameters} | set(inside))


def _ordered(parameters: tuple[Parameter, ...], lines: Mapping[str, Line]) -> list[Parameter]:
    by_path = {p.path: p for p in parameters}
    done: dict[str, Parameter] = {}

    def visit(path: str, chain: tuple[str, ...]) -> None:
        if path in chain:
            raise lines[path].error(f"{path}: conditions go round in a circle: {' <- '.join((*chain, path))}")
        if path not in done:
            for parent in _parents(path, by_path):
                visit(parent, (*chain, path))
            done[path] = by_path[path]

    for path in by_path:
        visit(path, ())
    return list(done.values())


def _check_conditions(
    parameter: Parameter, parameters: Mapping[str, Parameter], configurations: Configurations, line: Line
) -> None:
    for path, allowed in parameter.when.items():
        if not allowed:
            raise line.error(f"{parameter.path}: when: {path} allows no value")
        if path not in parameters and path.partition(".")[0] not in FIXED:
            try:
                configurations.check_path(path)
            except UserError as error:
                raise line.error(f"{parameter.path}: when: {error}") from error
        for value in allowed:
            if path in parameters and not parameters[path].holds(value):
                drawn = parameters[path].ends()
                of = ", ".join(map(str, drawn))
                raise line.error(f"{parameter.path}: when: {path} is never {value!r}; it is drawn from {of}")
            if path not in parameters:
                _build(configurations, {path: value}, line)


def _contexts(parameter: Parameter, parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Every choice of values under which the parameter exists, of the paths that decide it and all they hang on."""
    parts: list[list[dict[str, Any]]] = []
    for path in [*_parents(parameter.path, parameters), *(p for p in parameter.when if p not in parameters)]:
        searched = parameters.get(path)
        above = list(_contexts(searched, parameters)) if searched else [{}]
        values = parameter.when[path] if path in parameter.when else parameters[path].ends()
        parts.append([{**context, path: value} for context in above for value in values])
    for combination in itertools.product(*parts):
        merged: dict[str, Any] = {}
        for part in combination:
            if any(merged.get(path, value) != value for path, value in part.items()):
                break
            merged.update(part)
        else:
            yield merged


def _build(configurations: Configurations, values: Mapping[str, Any], line: Line) -> None:
    try:
        configurations.build(values)
    except UserError as error:
        raise line.error(f"{error} (with {_words(values)})") from error


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in values.items())


def _existing(parameters: Mapping[str, Parameter], configurations: Configurations) -> Iterator[Parameter]:
    """Conditions on paths that are not searched are settled now, by the base configuration."""
    kept: set[str] = set()
    for path, parameter in parameters.items():
        settled = {p: allowed for p, allowed in parameter.when.items() if p not in parameters}
        open_ = {p: allowed for p, allowed in parameter.when.items() if p in parameters}
        if all(configurations.value(p) in allowed for p, allowed in settled.items()) and open_.keys() <= kept:
            kept.add(path)
            yield changed(parameter, when=open_)


def _point(
    point: Mapping[str, Any], space: Space, configurations: Configurations, lines: Mapping[str, Line]
) -> dict[str, Any]:
    line, by_path = lines["points"], {p.path: p for p in space.parameters}
    values: dict[str, Any] = {}
    for path, value in point.items():
        if path not in by_path:
            raise line.error(f"{path} is not searched; {hint(path, by_path)}")
        if not by_path[path].holds(value):
            raise line.error(
                f"{path}={value} is not among what is searched: {', '.join(map(str, by_path[path].ends()))}"
            )
        values[path] = value
    for path in values:
        if not by_path[path].exists(values):
            raise line.error(f"{path} does not exist in this point: it needs {dict(by_path[path].when)}")
    _build(configurations, values, line)
    return values

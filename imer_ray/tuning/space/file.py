"""Read a search space from YAML and prove, before anything runs, that its configurations can be built.

    diffusion.sde: {choice: [vp, ve]}
    diffusion.sde.sigma_max: {float: [5, 50], log: true, when: {diffusion.sde: ve}}
    diffusion.num_steps: {int: [2, 32], log: true, prior: 8}
    points:
      - {diffusion.sde: vp, diffusion.num_steps: 8}

Keys are configuration paths. A range has two ends, ``log`` or ``step``; ``when`` names values of other paths, searched
or not, under which the parameter exists. A ``prior`` is a value that you believe in: it is proposed first, and more
often at the beginning. ``points`` are proposed after that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from imer_ray.config import plugins
from imer_ray.config.plugin_options import check_free
from imer_ray.errors import UserError, closest_word, hint
from imer_ray.files import shipped_folder
from imer_ray.tuning.space.check import Configurations, Line, check
from imer_ray.tuning.space.space import Distribution, Parameter, Space

FOLDER = shipped_folder("search_spaces")
POINTS = "points"
KINDS = ("choice", "float", "int")


class _Loader(yaml.SafeLoader):
    """Reads numbers as YAML 1.2 and everybody else does: 1e-4 and 1e12 are none in YAML 1.1, but text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z"),
    list("-+.0123456789"),
)


def find(name: str) -> Path:
    """The file of a space: a name in ``search_spaces/``, ours or a plugin's, or a path.

    Raises:
        UserError: there is none.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if not path.is_file():
            raise UserError(f"space={name}: there is no such file")
        return path
    found = {path.stem: ("imer_ray", path) for path in FOLDER.glob("*.yaml")}
    for plugin, folder in plugins.parts(plugins.SPACES):
        for file in map(Path, map(str, folder.iterdir())):
            if file.suffix == ".yaml":
                taken = {stem: owner for stem, (owner, _) in found.items()}
                check_free(plugin.name, f"{plugins.SPACES}/{file.name}", file.stem, taken)
                found[file.stem] = plugin.name, file
    if name not in found:
        raise UserError(f"space={name}: unknown search space; {hint(name, found)} (or give a file: {name}.yaml)")
    return found[name][1]


def load(name: str, base: Mapping[str, Any]) -> Space:
    """Read a space and check it against the configuration that its trials change.

    Args:
        name: as `find` takes it.
        base: the resolved configuration (an ExperimentConfig's tree).

    Raises:
        UserError: with file and line, for whatever is wrong.
    """
    path = find(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    entries = dict(_entries(text, str(path)))
    lines = {key: line for key, (line, _) in entries.items()}
    points_line, points = entries.pop(POINTS, (None, []))
    configurations = Configurations(base)
    parameters = []
    for key, (line, spec) in entries.items():
        try:
            parameters.append(_parameter(key, spec))
            configurations.check_path(key)
        except ValueError as error:
            raise line.error(f"{key}: {error}") from error
        except UserError as error:
            raise line.error(error) from error
    if not parameters:
        raise UserError(f"{path} names no parameter to search")
    space = Space(name=name, text=text, parameters=tuple(parameters), points=_points(points, points_line))
    return check(space, configurations, lines)


def _entries(text: str, file: str) -> Iterator[tuple[str, tuple[Line, Any]]]:
    """(key, (its line, its value)) of the file's top level."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{file}: a search space is a mapping of configuration paths to distributions")
        seen: dict[str, Line] = {}
        for key_node, value_node in root.value:
            key, line = str(key_node.value), Line(file, key_node.start_mark.line + 1)
            if key in seen:
                raise line.error(f"{key} is there already, in line {seen[key].number}")
            seen[key] = line
            yield key, (line, loader.construct_object(value_node, deep=True))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Line(file, mark.line + 1 if mark else 1).error(f"not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise UserError(f"{file}: not YAML: {reason}") from error


def _parameter(path: str, spec: Any) -> Parameter:
    """Raises ValueError if the specification cannot be understood."""
    if not isinstance(spec, Mapping) or not (kinds := [kind for kind in KINDS if kind in spec]):
        forms = "{choice: [a, b]}, {float: [low, high]} or {int: [low, high]}"
        raise ValueError(f"say what to draw it from: {forms}{_hint(spec)}")
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} exclude each other")
    kind = kinds[0]
    allowed = {kind, "when", "prior"} | ({"log", "step"} if kind != "choice" else set())
    for word in spec:
        if word not in allowed:
            raise ValueError(f"{kind} does not take {word!r}{_hint([word], allowed)}")
    distribution = _choice(spec["choice"]) if kind == "choice" else _range(kind, spec)
    when = spec.get("when", {})
    if not isinstance(when, Mapping):
        raise ValueError("when takes {path: value} or {path: [values]}")
    made = Parameter(path=path, distribution=distribution, when={str(k): _values(v) for k, v in when.items()})
    if (prior := spec.get("prior")) is None:
        return made
    if not made.holds(prior):
        raise ValueError(f"prior: {prior!r} is not among what is searched: {', '.join(map(str, made.ends()))}")
    return replace(made, prior=float(prior) if kind == "float" else int(prior) if kind == "int" else prior)


def _choice(choices: Any) -> Distribution:
    if not isinstance(choices, list) or not choices:
        raise ValueError("choice takes a list of at least one value")
    if any(isinstance(value, (list, Mapping)) for value in choices):
        raise ValueError("each choice must be one plain value")
    if wrong := [value for value in choices if isinstance(value, float) and not math.isfinite(value)]:
        raise ValueError(f"{wrong[0]} is not finite")
    if any(value in choices[:i] for i, value in enumerate(choices)):
        raise ValueError("choice has a value twice")
    return CategoricalDistribution(choices)


def _range(kind: str, spec: Mapping[str, Any]) -> Distribution:
    ends, log, step = spec[kind], spec.get("log", False), spec.get("step")
    if not isinstance(ends, list) or len(ends) != 2:
        raise ValueError(f"{kind} takes [low, high]")
    if not isinstance(log, bool):
        raise ValueError(f"log must be true or false, not {log!r}")
    number = _whole if kind == "int" else _number
    low, high = number(ends[0]), number(ends[1])
    if not low < high:
        raise ValueError(f"the range [{ends[0]}, {ends[1]}] is empty: its low end must be below its high end")
    if log and not low > 0:
        raise ValueError(f"a range with log: true must lie above 0, not begin at {ends[0]}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")
    if step is not None:
        step = number(step)
        if not step > 0 or abs((high - low) / step - round((high - low) / step)) > 1e-8:
            raise ValueError(f"step must divide the range: {high} - {low} is no multiple of {step}")
    if kind == "int":
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def _number(value: Any) -> float:
    try:
        number = float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number


def _whole(value: Any) -> float:
    number = _number(value)
    if not number.is_integer():
        raise ValueError(f"{value} is not a whole number")
    return number


def _values(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _hint(words: Any, known: Any = KINDS) -> str:
    for word in words if isinstance(words, (list, Mapping)) else []:
        if meant := closest_word(str(word), known):
            return f" (did you mean {meant}?)"
    return ""


def _points(points: Any, line: Line | None) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(points, list) or not all(isinstance(point, Mapping) for point in points):
        assert line is not None
        raise line.error("points takes a list of {path: value}")
    return tuple({str(k): v for k, v in point.items()} for point in points)

"""`import imer_ray` offers ten names, at once and whatever else is imported."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

import imer_ray

NAMES = {"search", "train", "evaluate", "compose", "load_study", "load_model", "Study", "Model", "UserError"}
COMMANDS = ("search", "train", "evaluate")


def test_there_are_ten_names_and_each_is_documented() -> None:
    assert set(dir(imer_ray)) == set(imer_ray.__all__) == NAMES | {"__version__"}
    assert all(inspect.getdoc(getattr(imer_ray, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="has no attribute 'serach'"):
        imer_ray.serach  # noqa: B018


def test_type_checkers_are_told_the_same_names() -> None:
    stub = ast.parse(Path(imer_ray.__file__).with_suffix(".pyi").read_text())
    places = {a.asname: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert places == {name: getattr(imer_ray, name).__module__ for name in NAMES}


def test_importing_it_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import imer_ray; dir(imer_ray); print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {name for name in done.stdout.split() if name.startswith("imer_ray")} == {"imer_ray"}
    assert not {"typing_extensions", "yaml", "numpy"} & set(done.stdout.split())


def test_the_commands_modules_never_take_the_functions_places() -> None:
    lines = ["import importlib, imer_ray", "from imer_ray import train as early"]
    for name, other in itertools.permutations(COMMANDS, 2):
        lines += [f"import imer_ray.{name}", f"main = importlib.import_module('imer_ray.{other}').main"]
        lines += [f"from imer_ray.{name} import main as other", "assert callable(main) and callable(other)"]
        lines += [f"assert imer_ray.{each}.__module__.startswith('imer_ray.api.')" for each in COMMANDS]
    lines += ["assert early is imer_ray.train"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_module_can_still_be_had(name: str) -> None:
    assert importlib.import_module(f"imer_ray.{name}").main.__module__ == f"imer_ray.{name}"
    assert inspect.isfunction(getattr(imer_ray, name))

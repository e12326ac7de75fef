"""What the code may not fall back to: configurations read by strings, Optuna's private names, halls of many rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "imer_ray"
TUNING = sorted((PACKAGE / "tuning").rglob("*.py"))
# a variable or attribute of these names is a configuration, or a part of one
CONFIGURATIONS = {
    *("config", "configuration", "options", "settings", "tree", "base", "experiment", "chosen", "slices"),
    *("study", "scaling", "diffusion", "training", "loss", "loop", "bank", "distill", "evaluate", "speed", "grid"),
}
MOST_SUBSCRIPTS = 40
MOST_ROOMS = 12
OPTUNA = "imer_ray.tuning.study._optuna"


def subscripts(path: Path) -> Iterator[ast.Subscript]:
    """``config["seed"]``, ``self.options["study"]["name"]`` (two of them)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            owner = node.value
            while isinstance(owner, ast.Subscript):
                owner = owner.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name.lstrip("_") in CONFIGURATIONS:
                yield node


def test_a_configuration_is_read_by_its_attributes_and_by_strings_at_the_edges_alone() -> None:
    files = {path.relative_to(PACKAGE): path for path in sorted(PACKAGE.rglob("*.py"))}
    found = [f"{name}:{node.lineno} {ast.unparse(node)}" for name, path in files.items() for node in subscripts(path)]
    assert len(found) <= MOST_SUBSCRIPTS, "\n".join(found)


def test_a_subscript_of_a_configuration_is_seen_whatever_holds_it(tmp_path: Path) -> None:
    seen = ['config["a"]', 'self._options["a"]["b"]', 'plan.base["a"]', "f\"{study['a']}\""]
    lines = [*seen, 'rows["a"]', "config[name]"]
    (tmp_path / "some.py").write_text("\n".join(lines))
    assert sorted(node.lineno for node in subscripts(tmp_path / "some.py")) == [1, 2, 2, 3, 4]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def privates(path: Path) -> Iterator[str]:
    """What a file uses of others although its name begins with an underscore."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("optuna"):
            if any(map(is_private, (*str(node.module).split("."), *(alias.name for alias in node.names)))):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def overridden(module: str) -> Iterator[str]:
    """Methods and attributes of Optuna's classes that a module's own classes replace although they are private."""
    for found in vars(import_module(module)).values():
        if isinstance(found, type) and found.__module__ == module:
            theirs = [vars(base).keys() for base in found.__mro__ if base.__module__.startswith("optuna")]
            yield from filter(is_private, (vars(found).keys() & set().union(*theirs)) - {"_abc_impl"})


def test_what_optuna_keeps_to_itself_is_used_in_one_file() -> None:
    used = {module_of(path): [*privates(path)] for path in TUNING}
    assert used.pop(OPTUNA)
    assert not {module: names for module, names in used.items() if names}
    modules = [module_of(path) for path in TUNING if path.parent.name in ("searchers", "study")]
    replaced = {module: [*overridden(module)] for module in modules}
    assert replaced.pop(OPTUNA)
    assert not {module: names for module, names in replaced.items() if names}


def test_tuning_has_few_rooms() -> None:
    rooms = {path.name for path in (PACKAGE / "tuning").iterdir()} - {"__init__.py", "__pycache__"}
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)

"""Imports point one way, heavy packages stay where they are needed, and `import imer_ray` is instant."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LEAVES = ("devices", "errors", "files", "received", "uris")
MAY_IMPORT = {  # beside itself and the leaves
    "devices": ("errors",),
    "errors": (),
    "files": ("errors",),
    "uris": ("errors",),
    "received": ("errors",),
    "config": (),
    "conf": (),
    "stages": (),
    "scaling": ("stages",),
    "diffusion": (),
    "data": ("config",),
    "models": ("config", "data", "diffusion"),
    "extraction": ("config", "data", "models"),
    "training": ("config", "data", "diffusion", "models", "stages"),
    "runtime": ("data", "diffusion", "models"),
    "evaluation": ("config", "data", "diffusion", "models", "runtime", "stages", "training", "results"),
    "prediction": (
        *("config", "data", "diffusion", "models", "runtime", "stages", "training", "evaluation", "results"),
        "extraction",
    ),
    "tasks": ("config", "data", "diffusion", "models", "stages", "training", "evaluation"),
    "systems": ("config", "stages"),
    "results": (),
    "analysis": ("results",),
    "serving": ("config", "prediction", "scaling"),
    "tuning": ("config", "data", "stages", "scaling", "training", "evaluation", "systems", "results"),
}
COMMANDS = ("cli", "convert", "evaluate", "export", "finetune", "generate", "predict", "search", "serve", "train")
# What people call: it may import all, and nothing else imports it.
FRONT = ("", "api", "console", "testing", *COMMANDS)
ON_RAY = ("imer_ray.scaling", "imer_ray.tuning.ray_tune", "imer_ray.serving.app", "imer_ray.serving.loopback")
LIGHT = (  # neither torch nor ray
    "imer_ray",
    "imer_ray.config.compose",
    "imer_ray.config.commands",
    "imer_ray.config.experiment",
    "imer_ray.errors",
    "imer_ray.stages.graph",
    "imer_ray.stages.run",
    "imer_ray.results.schema",
    *(f"imer_ray.systems.{path.stem}" for path in sorted((ROOT / "imer_ray" / "systems").glob("*.py"))),
)


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, wherever in it; ``from a import b`` is ``a.b``, be b a module or a name."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            found += (f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(found)


def part(module: str) -> str:
    """``models`` of ``imer_ray.models.model``; empty for the package itself."""
    return (module.split(".") + [""])[1]


def place(path: Path) -> str:
    """The part that a file belongs to; a package's ``__main__`` is a command, wherever it lies."""
    return "" if path.name == "__main__.py" else part(module_of(path))


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def package_files(below: str = "") -> list[Path]:
    return sorted((ROOT / "imer_ray" / below).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_imports_point_one_way() -> None:
    for path in package_files():
        own, module = place(path), module_of(path)
        parts = {part(other) for other in imports(path) if within(other, ("imer_ray",))} - {own, "", "__version__"}
        if own in MAY_IMPORT:
            assert parts <= {*MAY_IMPORT[own], *(LEAVES if own not in LEAVES else ())}, module
        else:
            assert own in FRONT, f"imer_ray.{own} has no place in the order of imports"


def test_no_module_imports_in_a_circle() -> None:
    known = {module_of(path): path for path in package_files()}
    uses = {}
    for module, path in known.items():
        named = {found if found in known else found.rpartition(".")[0] for found in imports(path)}
        uses[module] = {found for found in named if found in known and found != module}
    left = dict(uses)
    while free := {module for module, used in left.items() if not used & left.keys()}:
        left = {module: used for module, used in left.items() if module not in free}
    assert not left, "these modules import each other, or one that does"


def test_ray_hydra_and_analysis_are_imported_in_their_places_only() -> None:
    for path in package_files():
        own, module, found = place(path), module_of(path), set(imports(path))
        if not within(module, ON_RAY):
            assert not {other for other in found if within(other, ("ray",))}, module
        if own != "config":
            assert not {other for other in found if within(other, ("hydra", "omegaconf"))}, module
        if own not in ("analysis", *FRONT):
            assert not {other for other in found if within(other, ("imer_ray.analysis",))}, module


def test_diffusion_imports_only_torch_and_numpy() -> None:
    for path in package_files("diffusion"):
        found, module = imports(path), module_of(path)
        packages = {other.partition(".")[0] for other in found}
        assert packages - set(sys.stdlib_module_names) <= {"imer_ray", "numpy", "torch"}, module
        assert all(within(other, ("imer_ray.diffusion",)) for other in found if within(other, ("imer_ray",))), module


def test_of_our_own_the_analysis_knows_only_results_errors_and_files() -> None:
    for path in package_files("analysis"):
        found, module = imports(path), module_of(path)
        ours = {other for other in found if within(other, ("imer_ray",))}
        command = {"imer_ray.cli"} if place(path) == "" else set()
        allowed = ("imer_ray.results", "imer_ray.errors", "imer_ray.files", "imer_ray.analysis")
        assert all(within(other, allowed) for other in ours - command), module
        assert not {other for other in found if within(other, ("ray", "torch", "hydra"))}, module


def foreign(files: Iterable[Path]) -> set[str]:
    """The top-level packages of others that files import."""
    modules = {module.partition(".")[0] for path in files for module in imports(path)}
    return modules - set(sys.stdlib_module_names) - {"imer_ray"}


def test_what_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    loggers = {
        path.stem: path for path in (ROOT / "imer_ray" / "tuning" / "loggers").glob("*.py") if path.stem in extras
    }
    reader = ROOT / "imer_ray" / "models" / "sentence_encoder.py"
    extraction = {*(ROOT / "imer_ray" / "extraction").glob("*.py")}
    serving = {*(ROOT / "imer_ray" / "serving").glob("*.py")}
    runtime = {*(ROOT / "imer_ray" / "runtime").rglob("*.py")}
    files = {*package_files()} - {*loggers.values(), reader} - extraction - serving - runtime
    distributions = packages_distributions()
    used = {canonicalize_name(distributions[module][0]) for module in foreign(files)}
    assert used == declared
    for name, path in loggers.items():  # a choice that not all make: the extra of its name brings its package
        assert foreign([path]) == {name}
        assert [Requirement(line).name.partition("-")[0] for line in extras[name]] == [name]
    of_extras = {"text": {reader}, "extract": {reader, *extraction}, "serve": serving, "onnx": runtime}
    for extra, of_it in of_extras.items():
        brought = {canonicalize_name(Requirement(line).name) for line in extras[extra]}
        found = {canonicalize_name(distributions[module][0]) for module in foreign(of_it)}
        assert brought <= found <= declared | brought


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_front_of_a_server_loads_no_torch() -> None:
    """The replicas have it; the process that takes requests only hands them on."""
    assert "torch" not in loaded_by("imer_ray.serving.app, imer_ray.serving.server")


def test_what_trains_and_scores_loads_only_what_it_computes_with() -> None:
    """Every worker of a search does so anew, and what tables, fits and figures need takes as long again as torch."""
    kinds = ("encode", "prior", "pretrain", "bank", "recognise", "cost", "evaluate")
    loaded = loaded_by(", ".join(["imer_ray.scaling.inline", *(f"imer_ray.tasks.{kind}" for kind in kinds)]))
    assert "torch" in loaded and loaded.isdisjoint({"pandas", "scipy", "matplotlib", "hydra", "optuna"})


@pytest.mark.slow
def test_training_and_timing_do_not_load_the_compiler() -> None:
    """PyTorch's optimisers and modes do, to be left alone by it, which takes a process longer than to import torch."""
    code = """import sys, tempfile
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.testing.systems import SMALL
config = compose(ExperimentConfig, "experiment", [*SMALL, "system=masked"])
with tempfile.TemporaryDirectory() as folder:
    for stage in graph(config, "valid").in_order():
        run_graph(stage, Store(folder))
        print(stage.kind, "torch._dynamo" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == dict.fromkeys(["encode", "recognise", "cost", "evaluate"], "False")


def test_light_modules_load_neither_torch_nor_ray() -> None:
    code = ", ".join(LIGHT)
    assert loaded_by(code).isdisjoint({"torch", "ray", "hydra", "pandas"})


def test_a_trial_loads_no_torch() -> None:
    """Trials only coordinate: dozens of their processes share the head's memory."""
    assert "torch" not in loaded_by("imer_ray.tuning.ray_tune.trainable")

"""What pip installs is whole: package, options, search spaces, clusters and types, away from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which a freshly built wheel is installed."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qqq"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("imer_ray-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


def run(installed: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *command], cwd=installed.parent, env=environment, capture_output=True, text=True
    )


def test_everything_that_is_no_test_is_installed(installed: Path) -> None:
    for name in ("imer_ray", "analysis", "search_spaces", "clusters"):
        source = {
            path.relative_to(ROOT)
            for path in (ROOT / name).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert source
        assert [str(path) for path in sorted(source) if not (installed / path).is_file()] == []
    assert not (installed / "tests").exists() and not (installed / "benchmarks").exists()


def test_the_search_finds_its_options_and_spaces(installed: Path) -> None:
    code = (
        "import imer_ray, imer_ray.config.compose as c, imer_ray.tuning.space.file as s;"
        "print(imer_ray.__file__, s.find('default'), *c.options('diffusion/sampler'))"
    )
    done = run(installed, "-c", code)
    assert done.returncode == 0, done.stderr
    package, space, *samplers = done.stdout.split()
    assert Path(package).is_relative_to(installed) and Path(space).is_relative_to(installed)
    assert {"ddim", "heun"} <= set(samplers)


@pytest.mark.parametrize("module", ["imer_ray.search", "imer_ray.train", "imer_ray.evaluate", "imer_ray.export"])
def test_the_commands_explain_themselves(installed: Path, module: str) -> None:
    done = run(installed, "-m", module, "--help")
    assert done.returncode == 0, done.stderr
    assert module in done.stdout

"""The Dockerfile: nobody's root, small, and all that the package is built from reaches it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]


def given(name: str) -> list[str]:
    return [rest for step, rest in STEPS if step == name]


def context() -> list[str]:
    """What .dockerignore lets through, of what stands at the top of a checkout."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"  # all else is left out
    return [rule.removeprefix("!") for rule in rules if rule.startswith("!")]


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or "hadolint"
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_it_has_a_variant_for_cpus_and_one_for_cuda() -> None:
    stages = {name: base for base, name in (rest.split(" AS ") for rest in given("FROM")[:-1])}
    assert stages["cpu"] == stages["cuda"] == "base" and re.match(r"python:3\.11-slim", stages["base"])
    assert given("ARG") == ["DEVICE=cpu"] and given("FROM")[-1] == "${DEVICE}"


def test_it_runs_as_a_user_by_number() -> None:
    """Kubernetes compares numbers where it is to let no root in."""
    assert int(given("USER")[-1]) > 0


def test_what_is_copied_is_what_is_let_through() -> None:
    copied = [source for rest in given("COPY") for source in shlex.split(rest)[:-1]]
    assert sorted(copied) == sorted(context())
    assert [name for name in copied if not (ROOT / name).exists()] == []


@pytest.mark.timeout(120)
def test_a_wheel_can_be_built_from_what_is_copied(tmp_path: Path) -> None:
    for name in context():
        source, target = ROOT / name, tmp_path / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy(source, target)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"imer_ray/search_spaces/default.yaml", "imer_ray/clusters/kuberay.yaml", "imer_ray/search.py"} <= set(names)

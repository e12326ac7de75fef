"""The project's own files agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import imer_ray

ROOT = Path(__file__).parents[2]
FOLDERS = (".github", "analysis", "benchmarks", "clusters", "docs", "examples", "imer_ray", "search_spaces", "tests")
TEXT = (".py", ".md", ".cff", ".css", ".ipynb", ".yaml", ".yml", ".toml", ".txt", ".cfg", ".json", "")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def project_files() -> list[Path]:
    top = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]  # a file in a worktree
    return top + [path for name in FOLDERS for path in (ROOT / name).rglob("*") if path.is_file()]


def documents() -> list[Path]:
    return sorted(path for path in project_files() if path.suffix == ".md")


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\](?:\(|: )([^)\s#]+)|src=\"([^\"]+)\"", path.read_text())
    local = [link or source for link, source in targets if "://" not in (link or source)]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_the_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for path in documents() for word in re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }
    assert {"search", "test"} <= named <= targets


def test_the_makefile_passes_arguments_on() -> None:
    dry = ["make", "--no-print-directory", "--dry-run", "--always-make", "search", "ARGS=study.num_trials=48"]
    commands = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert commands.rstrip().endswith("-m imer_ray.search study.num_trials=48")


def test_what_make_runs_keeps_the_bytecode_that_it_compiles() -> None:
    make = ["make", "--no-print-directory", "--eval=probe: ; @env", "probe"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True, env=environment)
    assert "PATH=" in done.stdout and "PYTHONDONTWRITEBYTECODE" not in done.stdout


def test_nothing_names_a_path_of_one_machine() -> None:
    pattern = re.compile("|".join(("/" + "work/", "/" + "root/", "/" + "Users/", "/tmp/" + r"\w/")))
    texts = [path for path in project_files() if path.suffix in TEXT and "__pycache__" not in path.parts]
    found = [path.relative_to(ROOT) for path in texts if pattern.search(path.read_text(errors="ignore"))]
    assert found == []


TRACKERS = ("mlflow", "wandb")  # extras named after a file in imer_ray/tuning/loggers


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    """But trackers, which the set-up does not install: mlflow-skinny refuses a package that others here need newer."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert len(pins) == len(lines) and list(pins) == [canonicalize_name(name) for name in pins]
    wanted = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    trackers = [line for name in TRACKERS for line in PROJECT["optional-dependencies"][name]]
    for line in wanted:
        requirement = Requirement(line)
        assert requirement.specifier and requirement.url is None
        if line not in trackers:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert not any("+" in version for version in pins.values())  # a local build is no version that others can get


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## {imer_ray.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_file_of_the_project_is_ignored() -> None:
    """What .gitignore names is missing from a wheel and on a cluster."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout == ""

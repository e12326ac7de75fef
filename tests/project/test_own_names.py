"""In a folder whose files have the names of ours, every command works all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("analysis", "cli", "config", "errors", "export", "report", "results", "schema", "search", "study", "train")
FOLDERS = ("benchmarks", "clusters", "conf", "data", "models", "search_spaces", "stages", "tuning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own")
    for name in FILES:
        (path / f"{name}.py").write_text("raise SystemExit('the file of the user was imported')\n")
    for name in FOLDERS:
        (path / name).mkdir()
        (path / name / "__init__.py").write_text("raise SystemExit('the package of the user was imported')\n")
    return path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("search study.warm_start=[elsewhere] study.num_trials=1", "error: elsewhere/results.parquet does not exist"),
        ("train config=decoupled data.name=store data.path=nowhere", "error: "),
        ("evaluate model=models", "error: no trained model in models"),
        ("export run=runs/demo pick=knee", "error: run=runs/demo: there is no such folder"),
        ("analysis runs/demo", "error: runs/demo"),
        ("stages ls", "error: root=runs/stages"),
        ("convert input=none.pkl output=store", "error: input=none.pkl: no such file"),
    ],
)
def test_a_command_does_not_see_them(folder: Path, words: str, says: str) -> None:
    module, *arguments = words.split()
    command = [sys.executable, "-m", f"imer_ray.{module}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(says), done.stderr

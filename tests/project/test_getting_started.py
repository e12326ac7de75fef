"""What docs/getting-started.md and the notebooks in analysis/ tell people to run, runs, in their order."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "getting-started.md").read_text()
NOTEBOOKS = {"explore": "10 trials", "use_a_model": "l (language) 24"}
"""Name -> what it prints."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


def run(folder: Path, *words: str) -> str:
    command = [sys.executable if word in ("python", ".venv/bin/python") else word for word in words]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def made_by(words: list[str]) -> list[str]:
    """The command that a make target ends with; its set-up is not this test's."""
    dry = ["make", "--no-print-directory", "--dry-run", "--always-make", *words[1:]]
    said = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return shlex.split(said.rstrip().splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of the page was run: blocks of Python that follow each other are one session."""
    path = tmp_path_factory.mktemp("started")
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
    for kind, group in itertools.groupby(blocks, key=lambda block: block[0]):
        text = "\n".join(code for _, code in group)
        if kind == "python":
            run(path, "python", "-c", text)
            continue
        for words in map(shlex.split, text.splitlines()):
            run(path, *(made_by(words) if words[0] == "make" else words))
    return path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_leaves_what_it_says(folder: Path) -> None:
    for name in re.findall(r"`((?:runs|models)/[^`]+)`", PAGE):
        assert (folder / name).exists(), name


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_on_what_the_page_left(folder: Path, name: str) -> None:
    notebook = json.loads((ROOT / "analysis" / f"{name}.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (folder / "analysis").mkdir(exist_ok=True)
    said = run(folder / "analysis", "python", "-c", "\n".join(cells))
    assert NOTEBOOKS[name] in said

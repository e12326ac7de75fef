"""imer_ray in environments of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = "import sys, hatchling.build as build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


@dataclass(frozen=True)
class Installation:
    """An environment of its own: imer_ray as pip installs it, what it depends on, and nothing of the checkout."""

    python: Path
    site: Path

    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        own = {**os.environ, "PYTHONNOUSERSITE": "1"}
        own.pop("PYTHONPATH", None)
        return subprocess.run([str(self.python), *words], cwd=cwd, env=own, capture_output=True, text=True)


def build(how: str, folder: Path) -> Path:
    """What pip is given for ``pip install .`` ("wheel") and ``pip install -e .`` ("editable")."""
    words = [sys.executable, "-c", BUILD, f"build_{how}", str(folder)]
    return folder / subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def install(wheel: Path, folder: Path) -> Installation:
    """As pip would into an empty environment, but for the dependencies: those of this process are borrowed."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.split(r"[\[<>=]", line)[0] for line in lines]
    places = {str(distribution(name).locate_file("")) for name in names}
    (site / "borrowed.pth").write_text("\n".join(sorted(places)))  # a line is a path; no other .pth there is read
    return Installation(folder / "bin" / "python", site)

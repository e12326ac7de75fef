"""Commands as a container runs them: under a number without a name, and without a home."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from other_user import NAMELESS, as_user, is_root, python_as
from small import ROOT, SMALL

HOMES = [None, "/"]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the user may write: pytest's own folders are closed to others."""
    words = as_user(NAMELESS, ["mktemp", "-d"])
    made = Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=True)


def run(name: str, *overrides: str, home: str | None, folder: Path) -> subprocess.CompletedProcess[str]:
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "MPLCONFIGDIR")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **({} if home is None else {"HOME": home})}
    code = f"import runpy; runpy.run_module('imer_ray.{name}', run_name='__main__', alter_sys=True)"
    words = python_as(NAMELESS, code, *overrides)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


@is_root
@pytest.mark.parametrize("home", HOMES)
def test_a_command_that_fails_says_so_in_a_sentence(home: str | None, folder: Path) -> None:
    done = run("export", "pick=knee", home=home, folder=folder)
    assert done.returncode == 2, done.stderr
    assert (
        done.stderr.startswith("error: run=runs/demo: there is no such folder") and len(done.stderr.splitlines()) == 1
    )


@pytest.mark.slow
@is_root
def test_a_search_works_and_leaves_nothing_among_the_temporary_files(folder: Path) -> None:
    done = run("search", "study.num_trials=1", *SMALL, home=None, folder=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs/demo/report/index.html").stat().st_size > 0
    assert "Traceback" not in done.stderr and "atplotlib" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [f"imer_ray-{NAMELESS}", "runs"]

"""The scripts in clusters/, as they are written."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "clusters").glob("*.sh"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=sysconfig.get_path("scripts")) or "shellcheck"
    done = subprocess.run([shellcheck, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_slurm_tells_the_job_before_its_time_is_up() -> None:
    (script,) = (path for path in SCRIPTS if path.name == "slurm.sh")
    options = [line.split()[1] for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--requeue", "--open-mode=append", "--ntasks-per-node=1"} <= set(options)
    (warning,) = (option for option in options if option.startswith("--signal="))
    assert warning.startswith("--signal=B:USR1@") and int(warning.rpartition("@")[2]) >= 120

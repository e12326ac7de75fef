"""clusters/lab.sh on two machines that this one pretends to be."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from fake_slurm import ADDRESSES
from pretended import RAY, ROOT, SMALL, Cluster, nodes_that_found_what_one_finds
from stubs import typed

LAB = ROOT / "clusters" / "lab.sh"
# What people do at the first machine and at the second, in this order.
DAY = f"""
srun bash -c '
if [ "$SLURM_NODEID" = 0 ]; then
  bash {LAB} head --num-cpus=1 --num-gpus=0
  RAY_ADDRESS={ADDRESSES[0]}:6379 RAY_AUTH_MODE=token python -m imer_ray.search "$@"
  echo $? > searched
else
  until bash {LAB} {ADDRESSES[0]}:6379 --num-cpus=1 --num-gpus=0; do sleep 1; done 2> /dev/null
  until [ -e searched ]; do sleep 0.2; done
fi' day "$@"
exit "$(cat searched)"
"""


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """The script in a checkout without an environment, whose Ray would be taken before the stub's."""
    (tmp_path / "checkout" / "clusters").mkdir(parents=True)
    return Path(shutil.copy(LAB, tmp_path / "checkout" / "clusters"))


def test_ray_s_own_options_are_what_it_takes(tmp_path: Path, alone: Path) -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123")
    for where in ("head", "10.0.0.1:6379"):
        run = typed(f"bash {alone} {where} --num-cpus=4", tmp_path, {})
        (call,) = (call for call in run.calls if call[:2] == ["ray", "start"])
        assert run.status == 0 and {word.partition("=")[0] for word in call[2:]} <= known, run.errors
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600


def test_the_second_machine_needs_the_first_one_s_token(tmp_path: Path, alone: Path) -> None:
    run = typed(f"bash {alone} 10.0.0.1:6379", tmp_path, {})
    assert run.status == 2 and "copy it from the first machine" in run.errors and run.calls == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("namespaces")
def test_two_machines_find_what_one_finds(tmp_path: Path) -> None:
    day = tmp_path / "day.sh"
    day.write_text(DAY)
    cluster = Cluster(day, tmp_path, RAY, [sys.executable])
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # as sockets need it
        status, said = cluster.run(*SMALL, HOME=str(tmp_path), RAY_TMPDIR=short)
    assert status == 0, said
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert len(nodes_that_found_what_one_finds(tmp_path)) >= 2

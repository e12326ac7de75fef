"""Two processes never fill numba's cache of librosa at once: what they would leave there kills whoever calls it."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from imer_ray.extraction.librosa_features import Sims
print(Sims().extract(Path(sys.argv[1])).shape)
"""


@contextmanager
def _process(path: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", PROGRAM, str(path)]
    process = subprocess.Popen(
        words, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_process_waits_while_another_loads_librosa(tone: Callable[..., Path]) -> None:
    spec = importlib.util.find_spec("librosa")
    assert spec and spec.origin
    with open(spec.origin, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with _process(tone(rate=22_050)) as process:
            assert process.stderr and "waiting for another process" in process.stderr.readline()
            assert process.poll() is None
            fcntl.flock(file, fcntl.LOCK_UN)
            out, err = process.communicate()
    assert (process.returncode, out) == (0, "(44, 33)\n"), err


@pytest.mark.slow
def test_two_processes_at_once_leave_a_cache_that_serves_a_third(tone: Callable[..., Path], tmp_path: Path) -> None:
    """Without the lock every second time the third, and each one after it, dies of a segmentation fault."""
    path, cache = tone(rate=22_050), str(tmp_path / "numba")
    with _process(path, NUMBA_CACHE_DIR=cache) as first, _process(path, NUMBA_CACHE_DIR=cache) as second:
        assert [p.communicate()[0] for p in (first, second)] == ["(44, 33)\n"] * 2
    with _process(path, NUMBA_CACHE_DIR=cache) as third:
        assert third.communicate()[0] == "(44, 33)\n"

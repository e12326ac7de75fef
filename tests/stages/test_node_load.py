"""Who computes on this node: counted while alive, not after a kill, and never oneself."""

import os
import signal
import subprocess
import sys

import pytest

from imer_ray.stages import node_load
from imer_ray.stages.node_load import announced, num_neighbours

CODE = "from imer_ray.stages.node_load import announced\nwith announced():\n    print('here', flush=True)\n    input()"


@pytest.fixture
def start(tmp_path, monkeypatch):
    place = tmp_path / f"imer_ray-{os.getuid()}" / "running"
    monkeypatch.setattr(node_load, "folder", lambda: place)
    started = []

    def start_process():
        process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        started.append(process)
        assert process.stdout.readline() == b"here\n"
        return process

    yield start_process
    for process in started:
        process.kill()
        process.communicate()


def test_processes_are_counted_while_they_compute(start):
    assert num_neighbours() == 0
    first, second = start(), start()
    assert num_neighbours() == 2
    first.communicate(b"\n")
    assert num_neighbours() == 1
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert num_neighbours() == 0
    assert not list(node_load.folder().iterdir())  # what the killed one left is cleared away


def test_one_is_no_neighbour_of_oneself(start):
    with announced(), announced():
        assert num_neighbours() == 0
        assert len(list(node_load.folder().iterdir())) == 2
    assert not list(node_load.folder().iterdir())

"""What one machine writes to a folder that it shares, another one sees (`views`)."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toy_stages import toy
from waiting import until

from imer_ray.errors import UserError
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.tuning.study.lock import only_driver

HOLD = """
import sys
from pathlib import Path
from imer_ray.tuning.study.lock import only_driver

with only_driver(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_driver_has_a_study_until_it_is_killed(views):
    words = [sys.executable, "-c", HOLD, str(views[0] / "demo")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"is being searched by process {holder.pid} on "),
            only_driver(views[1] / "demo"),
        ):
            pass
        holder.kill()
    until(lambda: _is_free(views[1] / "demo"))


def _is_free(folder):
    try:
        with only_driver(folder):
            return True
    except UserError:
        return False


def test_an_artefact_that_was_looked_for_before_is_found_at_once(views):
    """Some file systems remember for a while what was not there."""
    one, two = (Store(view / "stages") for view in views)
    stage = toy("a", x=1)
    one.prepare()
    assert two.find(stage.key) is None
    run_graph(stage, one)
    assert two.find(stage.key) is not None
    assert (two.open(stage.key).folder / "value.txt").read_text() == "1"
    assert one.folders.evict(stage.key, "artefact.json", float("inf"))
    assert two.find(stage.key) is None
    assert run_graph(stage, two)[-1].metrics == {"value": 1.0} and two.put_aside == []


def test_what_comes_and_goes_is_whole_or_missing(views):
    one, two = (Store(view / "stages") for view in views)
    stage, rounds = toy("a", x=1), 20
    one.prepare()

    def come_and_go():
        for _ in range(rounds):
            run_graph(stage, one)
            one.folders.evict(stage.key, "artefact.json", float("inf"))

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(come_and_go)
        while not done.done():
            found = two.find(stage.key)
            assert found is None or found.metrics == {"value": 1.0}
        done.result()
    assert two.find(stage.key) is None and [*one.put_aside, *two.put_aside] == []


def test_a_file_that_another_machine_has_deleted_meanwhile_is_looked_for_again(tmp_path, monkeypatch):
    """NFS says so of a file that was found and then is not there; only a mount with luck says it when it is asked."""
    store, stage = Store(tmp_path), toy("a", x=1)
    run_graph(stage, store)
    read, said = Path.read_bytes, [OSError(errno.ESTALE, os.strerror(errno.ESTALE)), OSError(errno.EIO, "broken")]
    monkeypatch.setattr(Path, "read_bytes", lambda path: _raise(said.pop(0)) if len(said) == 2 else read(path))
    assert store.find(stage.key).metrics == {"value": 1.0} and len(said) == 1
    monkeypatch.setattr(Path, "read_bytes", lambda path: _raise(said[0]))
    with pytest.raises(OSError, match="broken"):
        store.find(stage.key)


def _raise(error):
    raise error

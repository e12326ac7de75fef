"""Eviction by another process while a broker works with the same store."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toy_stages import notes, toy

from imer_ray.stages.lease import FOLDER
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
EVICT_ALL = """
import sys, time
from pathlib import Path
from imer_ray.stages.eviction import carry_out, choose
from imer_ray.stages.inventory import take
from imer_ray.stages.store import Store
folders = Store(sys.argv[1]).folders
rounds = Path(sys.argv[2])
while True:
    carry_out(choose(take(folders, time.time()), (), 0, 0, time.time()), folders)
    with open(rounds, "a") as file:
        file.write(".")
    time.sleep(0.01)
"""


@pytest.fixture
def evictor(tmp_path):
    """A process that keeps removing all that the rules let it; what is given waits for so many more of its rounds."""
    rounds = tmp_path / "rounds"
    words = [sys.executable, "-c", EVICT_ALL, str(tmp_path / "stages"), str(rounds)]
    child = subprocess.Popen(words, cwd=ROOT)

    def more(number):
        end, before = time.monotonic() + 120, rounds.stat().st_size if rounds.exists() else 0
        while not rounds.exists() or rounds.stat().st_size < before + number:
            assert child.poll() is None and time.monotonic() < end
            time.sleep(0.01)

    more(1)
    yield more
    child.kill()
    child.wait()


def level(number, log, below):
    return toy(f"level[{number}]", x=number, sleep=0.2, log=log, inputs={} if below is None else {"below": below})


def chain(log, length):
    stage = None
    for number in range(length):
        stage = level(number, log, stage)
    return stage


def test_what_a_running_search_has_used_stays_and_the_rest_goes(broker, tmp_path, evictor):
    """Only the lease protects: there is no other limit, and the evictor goes round many times a second."""
    log, old = str(tmp_path / "log"), toy("old", x=1)
    store = Store(tmp_path / "stages")
    run_graph(old, Store(tmp_path / "elsewhere"))
    os.utime(tmp_path / "elsewhere" / old.key / "artefact.json", (0, 0))
    (tmp_path / "elsewhere" / old.key).rename(tmp_path / "stages" / old.key)
    last = chain(log, 6)

    def ask(stage, number):
        return broker.compute(stage, f"trial-{number}")

    with ThreadPoolExecutor() as pool:
        waiters = [pool.submit(ask, stage, number) for stage in last.in_order() for number in range(3)]
    assert all(waiter.result() for waiter in waiters)
    evictor(50)
    assert not (tmp_path / "stages" / old.key).exists()
    assert all(store.find(stage.key) for stage in last.in_order())
    assert len(notes(log)) == 6
    assert sum(kind["retried"] for kind in broker.stats()["stages"].values()) == 0
    broker.stop()
    evictor(2)
    left = [stage for stage in last.in_order() if (tmp_path / "stages" / stage.key).exists()]
    assert left == [], "without its driver nothing is kept"


def test_a_stage_evicted_from_under_its_users_is_computed_again(broker, tmp_path):
    """Without a lease, as after a long pause of the driver's machine: slower, but right, and never damaged."""
    log, store = str(tmp_path / "log"), Store(tmp_path / "stages")
    below = toy("below", x=1, log=log)
    broker.compute(below, "w")
    for lease in (tmp_path / "stages" / FOLDER).glob("*.json"):
        lease.unlink()
    for number in range(3):
        assert store.folders.evict(below.key, "artefact.json", time.time())
        above = toy("above", x=10 + number, inputs={"below": below})
        assert broker.compute(above, "w").metrics == {"value": 11 + number}
    assert len(notes(log)) == 4
    assert broker.stats()["damaged"] == []

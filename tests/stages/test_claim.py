"""Which of several drivers computes a stage of the store that they share."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toy_stages import notes, toy
from waiting import until
from worlds import World, s3_server

from imer_ray.stages.broker import Broker
from imer_ray.stages.claim import SILENT_SECONDS, Claims
from imer_ray.stages.eviction import carry_out, choose
from imer_ray.stages.folders import CLAIMS
from imer_ray.stages.inventory import take
from imer_ray.stages.lease import FOLDER, LEASE_SECONDS, Lease
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store

LOOK_SECONDS = 0.01
KEY = "0123456789abcdef"


def driver(folders, **lease):
    """A driver that lives, and its claims."""
    own = Lease(**lease)
    own.renew(folders)
    return own, Claims(folders, own, LOOK_SECONDS)


@pytest.fixture
def folders(world):
    return world.store().folders


def gone():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_the_first_has_it_until_it_lets_go(folders):
    (one, claims), (two, others) = driver(folders), driver(folders)
    assert claims.take(KEY) is None and claims.holder(KEY) is None
    assert others.holder(KEY) == others.take(KEY) == one
    assert others.take("another key") is None
    claims.release(KEY)
    assert others.holder(KEY) is None and others.take(KEY) is None
    assert claims.take(KEY) == two
    others.release(KEY), others.release("another key")
    assert folders.names(CLAIMS) == []


def of_many_that_claim_at_once_one_has_it(drivers):
    for number in range(5):
        start = threading.Barrier(len(drivers))

        def claim(claims, key=str(number), start=start):
            start.wait()
            return claims.take(key) is None

        with ThreadPoolExecutor(len(drivers)) as pool:
            assert sum(pool.map(claim, drivers)) == 1


def test_of_many_that_claim_at_once_one_has_it(folders):
    of_many_that_claim_at_once_one_has_it([driver(folders)[1] for _ in range(6)])


def test_of_many_on_two_machines_one_has_it(views):
    of_many_that_claim_at_once_one_has_it([driver(Store(view).folders)[1] for _ in range(3) for view in views])


@pytest.mark.parametrize("how", ["its process is dead", "nobody has waited for its process", "it has ended"])
def test_a_driver_that_is_gone_leaves_nothing_to_wait_for(folders, how):
    unwaited = subprocess.Popen(["true"])
    os.waitid(os.P_PID, unwaited.pid, os.WEXITED | os.WNOWAIT)
    pids = {"its process is dead": gone(), "nobody has waited for its process": unwaited.pid}
    lease, claims = driver(folders, pid=pids.get(how, os.getpid()))
    assert claims.take(KEY) is None
    if how == "it has ended":
        lease.end(folders)
    _, others = driver(folders)
    assert others.holder(KEY) is None and others.take(KEY) is None
    assert len(folders.names(CLAIMS)) == 1


@pytest.mark.parametrize("content", [b"", b"null", b'{"pid": "x"}', b'{"owner": 1}', b"[" * 100_000, b"\xff"])
def test_a_damaged_lease_holds_nobody_up(folders, content):
    lease, claims = driver(folders)
    claims.take(KEY)
    folders.write(f"{FOLDER}/{lease.name}.json", content)
    assert driver(folders)[1].take(KEY) is None
    assert len(take(folders, time.time()).leases) == 1, "the other driver's"


def test_a_driver_elsewhere_counts_as_long_as_it_renews_its_lease(tmp_path):
    """Silence is counted in looks, so a process that was stopped itself, or has a wrong clock, takes nothing away."""
    folders = World(tmp_path, remote=False).store().folders
    lease, claims = driver(folders, host="elsewhere", pid=1)
    claims.take(KEY)
    _, others = driver(folders)
    path = Path(tmp_path / "root" / FOLDER / f"{lease.name}.json")
    looks = int(SILENT_SECONDS / 2)
    for _ in range(3):
        for _ in range(looks):
            time.sleep(LOOK_SECONDS / 2)
            assert others.holder(KEY) == lease
        os.utime(path, (1.0, path.stat().st_mtime + 1))
    while others.holder(KEY) is not None:
        time.sleep(LOOK_SECONDS / 2)
    assert others.take(KEY) is None


def test_claims_of_the_living_stay_when_artefacts_are_evicted_and_those_of_the_dead_go(folders):
    (one, claims), (two, others) = driver(folders), driver(folders)
    claims.take(KEY), others.take("another key")
    two.end(folders)
    now = time.time()
    carry_out(choose(take(folders, now), (), 0, 0, now), folders)
    assert folders.names(CLAIMS) == [f"{KEY}-{one.name}.json"]
    later = now + LEASE_SECONDS + 1
    carry_out(choose(take(folders, later), (), 0, 0, later), folders)
    assert folders.names(CLAIMS) == []


def test_who_computes_a_stage_is_not_asked_where_it_is_there(world):
    """On an object store each question is a request."""
    store, stage = world.store(), toy("a", x=1)
    run_graph(stage, store)

    async def launch(stage):
        pytest.fail("it is there")

    async def ask():
        broker = Broker(store, launch, claims=Claims(None, Lease()))  # there is nobody whom these could ask
        while (status := (await broker.wait([stage], "w", 0.05))[stage.key]).state == "waiting":
            pass
        return status

    assert asyncio.run(ask()).state == "done"


SEARCH = """
import asyncio, os, sys, threading
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from toy_stages import toy
from imer_ray.stages.broker import Broker
from imer_ray.stages.claim import Claims
from imer_ray.stages.job import Begin
from imer_ray.stages.lease import Lease
from imer_ray.stages.run import execute
from imer_ray.stages.store import Store

store, log = Store(sys.argv[2], cache=Path(sys.argv[4])), sys.argv[3]
lease = Lease()
lease.keep(store.folders, 1.0)

async def launch(stage):
    if not (begin := await broker.begin(stage.key)):
        from imer_ray.errors import StageStopped
        raise StageStopped("not ours")
    return await asyncio.to_thread(execute, stage, store, lambda *progress: True, anew=begin == Begin.ANEW)

async def search():
    levels = []
    for number in range(4):
        inputs = {str(below.config["x"]): below for below in levels[-2:]}
        levels.append(toy(f"level[{number}]", x=number, log=log, sleep=0.2, inputs=inputs))
    stages = [*levels, toy("slow", "count", num_epochs=60, hold_at=20, gate=log + ".gate", log=log + ".slow")]
    while stages:
        told = await broker.wait(stages, "trial", 0.1)
        for said in broker.stats()["elsewhere"]:
            print("waiting for", said["name"], said["why"], flush=True)
        for status in told.values():
            if status.error is not None:
                raise status.error
        stages = [stage for stage in stages if told[stage.key].state != "done"]
    print("done", sum(kind["computed"] for kind in broker.stats()["stages"].values()), flush=True)

broker = Broker(store, launch, claims=Claims(store.folders, lease, 0.5))
asyncio.run(search())
"""


class Search:
    """A driver in a process of its own, with a broker that computes a few stages and one that waits for the test."""

    def __init__(self, root, log, cache):
        words = [sys.executable, "-c", SEARCH, str(Path(__file__).parent), root, str(log), str(cache)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = []
        self._reader = threading.Thread(target=lambda: self.said.extend(iter(self.process.stdout.readline, "")))
        self._reader.start()

    def end(self):
        self._reader.join(240)
        assert self.process.wait(60) == 0, "".join(self.said)
        return self.said


@contextlib.contextmanager
def searches(roots, tmp_path):
    """Two, whose stores are one."""
    log = tmp_path / "log"
    both = [Search(str(root), log, tmp_path / f"cache{number}") for number, root in enumerate(roots)]
    try:
        yield both, log, f"{log}.slow"
    finally:
        for search in both:
            search.process.kill()
            search.process.wait()


def waits(search):
    return any(line.startswith("waiting for slow") for line in search.said)


def pids(path):
    return [int(line.split()[1]) for line in notes(path)]


def two_searches_compute_each_stage_once(roots, tmp_path):
    with searches(roots, tmp_path) as (both, log, slow):
        until(lambda: any(waits(search) for search in both))
        Path(f"{log}.gate").touch()
        said = [search.end() for search in both]
    assert sorted(float(line.split()[0]) for line in notes(log)) == [0, 1, 2, 3]
    assert [int(line.split()[0]) for line in notes(slow)] == list(range(1, 61)) and len(set(pids(slow))) == 1
    told = [line for lines in said for line in lines if line.startswith("waiting for slow")]
    other = next(search for search in both if search.process.pid == pids(slow)[0])
    words = f"which another search computes (process {other.process.pid} on {socket.gethostname()})"
    assert set(told) == {f"waiting for slow {words}\n"}
    assert sum(int(lines[-1].split()[1]) for lines in said) == 5


def one_finishes_what_the_other_was_killed_in(roots, tmp_path):
    with searches(roots, tmp_path) as (both, log, slow):
        until(
            lambda: len(notes(slow)) > 5 and any(line.startswith("waiting for slow") for s in both for line in s.said)
        )
        first, second = both if pids(slow)[0] == both[0].process.pid else both[::-1]
        os.kill(first.process.pid, signal.SIGKILL)
        Path(f"{log}.gate").touch()
        second.end()
    assert [int(line.split()[0]) for line in notes(slow)][-1] == 60
    assert pids(slow)[0] == first.process.pid and pids(slow)[-1] == second.process.pid
    epochs = [int(line.split()[0]) for line in notes(slow)]
    assert len(epochs) <= 61, "it goes on from the checkpoint; of one epoch that may be missing"


@pytest.mark.parametrize("story", [two_searches_compute_each_stage_once, one_finishes_what_the_other_was_killed_in])
def test_on_one_folder(views, tmp_path, story):
    story([view / "stages" for view in views], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("story", [two_searches_compute_each_stage_once, one_finishes_what_the_other_was_killed_in])
def test_on_one_bucket(tmp_path, story):
    with s3_server() as (_, uri):
        story([uri, uri], tmp_path)

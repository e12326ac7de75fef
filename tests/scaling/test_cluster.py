"""Two raylets on this machine stand for a cluster: where the broker lives, what nodes hand each other, who may die."""

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from toy_hardware import hardware, worker_path
from toy_stages import notes, toy
from waiting import until
from worlds import s3_server

from imer_ray.scaling.cluster import TRIAL_SLOT, session, start

pytestmark = pytest.mark.slow  # starting a cluster takes half a minute
SCALING = hardware()
NODES = ("head", "spot")


@pytest.fixture(scope="module")
def bucket():
    with s3_server(narrow=True) as (_, uri):
        yield uri


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return {node: tmp_path_factory.mktemp(f"cache-{node}") for node in NODES}


@pytest.fixture(scope="module")
def cluster(bucket, caches):
    """A head with the driver and another node, of one CPU each; each has its own copies of artefacts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", worker_path())
        made = Cluster()
        for node in NODES:
            resources = {node: 1, TRIAL_SLOT: 4}
            made.add_node(num_cpus=1, resources=resources, env_vars={"IMER_RAY_CACHE": str(caches[node])})
        made.wait_for_nodes()
        start(hardware(address=made.address))
        yield made
        ray.shutdown()
        made.shutdown()


@ray.remote(num_cpus=1)
def hold(path):
    Path(path).touch()
    while Path(path).exists():
        time.sleep(0.05)


@contextlib.contextmanager
def busy(node, tmp_path):
    """A node's only CPU is taken."""
    path = tmp_path / node
    task = hold.options(resources={node: 0.1}).remote(str(path))
    until(path.exists)
    try:
        yield
    finally:
        path.unlink()
        ray.get(task)


def node_of(broker):
    return ray.get(broker._actor.__ray_call__.remote(lambda self: ray.get_runtime_context().get_node_id()))


def pid_of(broker):
    return ray.get(broker._actor.__ray_call__.remote(lambda self: os.getpid()))


def test_the_broker_lives_with_its_driver_also_after_a_restart(cluster, tmp_path):
    here = ray.get_runtime_context().get_node_id()
    for number in range(3):
        with session(str(tmp_path / f"{number}"), SCALING, slots=1) as broker:
            assert node_of(broker) == here
    with session(str(tmp_path / "stages"), SCALING, slots=1) as broker:
        before = pid_of(broker)
        os.kill(before, signal.SIGKILL)
        assert broker.compute(toy("a", x=1), "w").metrics == {"value": 1}
        assert pid_of(broker) != before and node_of(broker) == here


def test_a_stage_of_one_node_is_read_by_another_through_the_object_store(cluster, bucket, caches, tmp_path):
    log = str(tmp_path / "log")
    below = toy("below", x=1, log=log)
    above = toy("above", x=2, log=log, inputs={"b": below})
    with session(bucket, SCALING, slots=2) as broker:
        with busy("head", tmp_path):
            broker.compute(below, "w")
        with busy("spot", tmp_path):
            assert broker.compute(above, "w").metrics == {"value": 3}
    assert len(notes(log)) == 2
    copies = {
        node: {path.name for path in folder.glob("*/*") if path.name[0] != "."} for node, folder in caches.items()
    }
    assert copies == {"spot": {below.key}, "head": {below.key, above.key}}
    with session(bucket, SCALING, slots=2) as broker:  # another search, later: everything is there
        assert broker.compute(above, "w").reused and broker.compute(below, "w").reused
    assert len(notes(log)) == 2


def test_a_worker_group_of_two_nodes_shares_a_bucket(cluster, bucket, tmp_path):
    log = str(tmp_path / "log")
    group = hardware(num_workers=2, train_stages=("group",))
    with session(bucket, group, slots=2) as broker:
        result = broker.compute(toy("group", "regress", log=log), "w")
        assert result.metrics["epochs"] == 6 and not result.reused
        assert broker.compute(toy("after", x=1, inputs={"b": toy("a", x=2)}), "w").metrics == {"value": 3}
    assert [line.split()[2] for line in notes(log)] == ["2"] * 6


def test_a_stopped_process_of_another_node_is_ended_and_its_stage_finished(cluster, tmp_path):
    log = str(tmp_path / "log")
    patient = {"silence_seconds": 3.0, "max_failures": 50}  # on a busy machine others may seem silent, too
    strict = hardware(**patient)
    with session(str(tmp_path / "stages"), strict, slots=2) as broker, busy("head", tmp_path):
        result = broker.compute(toy("count", "count", num_epochs=8, stop_at=5, log=log), "w")
    assert result.metrics == {"total": 36}
    until(lambda: not Path(f"/proc/{Path(log + '.died').read_text()}").exists())


def compute(broker, stage, waiter):
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda one: broker.compute(one, waiter), stage.in_order()))


@ray.remote(num_cpus=0)
def trials(broker, stage, numbers):
    with ThreadPoolExecutor(len(numbers)) as pool:
        return [r[-1] for r in pool.map(lambda n: compute(broker, stage, f"trial-{n}"), numbers)]


@pytest.mark.parametrize("victim", ["worker", "broker"])
def test_fifty_waiters_survive_the_death_of(cluster, tmp_path, victim):
    """The stage that all wait for loses its process, or all lose their broker: it goes on and ends, once for all."""
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    count = toy("count", "count", num_epochs=60, hold_at=20, gate=str(gate), log=log)
    with session(str(tmp_path / "stages"), SCALING, slots=4) as broker:
        asked = [trials.remote(broker, count, range(n, n + 10)) for n in range(0, 50, 10)]
        until(lambda: len(notes(log)) > 10)
        os.kill(int(notes(log)[-1].split()[1]) if victim == "worker" else pid_of(broker), signal.SIGKILL)
        gate.touch()
        results = [result for found in ray.get(asked) for result in found]
        assert [result.metrics for result in results] == [{"total": 1830}] * 50
        epochs = [int(line.split()[0]) for line in notes(log)]
        missing = set(range(1, 61)) - set(epochs)  # it may be killed between an epoch's checkpoint and its line
        assert len(missing) <= 1 and len(epochs) <= 61 and epochs[-1] == 60
        assert len({line.split()[1] for line in notes(log)}) == 2
        if victim == "worker":  # a new broker knows nothing of the old one's retries, nor of who paid
            assert sum(not result.reused for result in results) == 1
            assert broker.stats()["stages"]["count"]["retried"] == 1

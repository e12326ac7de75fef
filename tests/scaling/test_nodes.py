"""What a second machine lacks is told before the first trial, or sent there: a raylet from which folders are hidden."""

import contextlib
import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from processes import can_mount
from ray.cluster_utils import Cluster
from toy_hardware import hardware
from toy_stages import toy
from waiting import until

from imer_ray.errors import UserError
from imer_ray.scaling import cluster as clusters
from imer_ray.scaling import nodes
from imer_ray.scaling.cluster import session

STAGES = str(Path(__file__).parents[1] / "stages")
SCALING = hardware(max_failures=0)
PACKAGE = str(Path(importlib.util.find_spec("imer_ray").origin).parent)
HERE = nodes.Answer(name="here", code="a", lacks=[], versions={"torch": "2.13.0"}, sees_store=True, sizes={"/data": 5})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"code": None}, "node box has no imer_ray: install"),
        ({"code": "b"}, "node box runs other code of imer_ray than this command: install"),
        ({"code": None, "lacks": ["torch", "pyarrow"]}, "node box lacks torch, pyarrow: install"),
        ({"versions": {"torch": "2.12.1"}}, r"node box has torch 2\.12\.1, this command 2\.13\.0: install"),
        ({"sees_store": False}, "node box does not see the store of stages at /runs: give all nodes one folder"),
        ({"sizes": {"/data": None}}, "node box does not see the data at /data: copy"),
        ({"sizes": {"/data": 4}}, r"node box has other data \(4 bytes\) at /data: copy"),
    ],
)
def test_the_node_and_the_remedy_are_named(changes, says):
    answer = nodes.Answer(**{**vars(HERE), "name": "box", **changes})
    assert nodes.lacks_code(HERE, [answer]) == ("code" in changes)
    if says is None:
        return nodes.check(HERE, [answer], "/runs")
    with pytest.raises(UserError, match=says):
        nodes.check(HERE, [answer], "/runs")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The address of a head without CPUs and of a node that does not see our package, nor the folders returned."""
    if not can_mount():
        pytest.skip("only root may hide folders from a process (unshare -m)")
    hidden = [str(tmp_path_factory.mktemp(name)) for name in ("stages", "data")]
    with head() as cluster, node_without(cluster, PACKAGE, *hidden):
        yield cluster.address, *hidden


@contextlib.contextmanager
def head():
    """A cluster of a head without CPUs, whose nodes know the toy stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", STAGES)
        patch.delenv("RAY_ADDRESS", raising=False)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            yield cluster
        finally:
            clusters.stop()
            cluster.shutdown()


@contextlib.contextmanager
def node_without(cluster, *folders, num_cpus=1):
    """A node that does not see what is in some folders."""
    hide = " && ".join(f"mount -t tmpfs none {folder}" for folder in folders)
    start = f"{sys.executable} -m ray.scripts.scripts start --address={cluster.address} --num-cpus={num_cpus} --block"
    node = subprocess.Popen(["unshare", "-m", "sh", "-c", f"{hide} && exec {start}"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        node.terminate()
        node.wait()


def joined(address, stages, data=()):
    """A session when the node is there."""
    ray.init(address=address, log_to_driver=False)
    await_nodes(2)
    ray.shutdown()
    return session(stages, hardware(max_failures=0, address=address), slots=1, data=data)


def await_nodes(number):
    until(lambda: sum(node["Alive"] for node in ray.nodes()) >= number)


@pytest.mark.slow
def test_code_that_a_node_lacks_is_sent_there(world, tmp_path, capsys):
    with joined(world[0], str(tmp_path)) as broker:
        assert broker.compute(toy("a", x=1), "w").metrics == {"value": 1}
        assert clusters.trial_resources().keys() == {f"node:{ray.util.get_node_ip_address()}"}
    assert capsys.readouterr().err.startswith("sending imer_ray's code to the other nodes")


@pytest.mark.slow
def test_a_store_that_a_node_does_not_see_is_told_at_the_start(world):
    with pytest.raises(UserError, match=r"node .* does not see the store of stages at .*give all nodes one folder"):
        with joined(world[0], world[1]):
            pass
    assert list(Path(world[1]).glob(".probe*")) == []


@pytest.mark.slow
def test_data_that_a_node_does_not_see_are_told_at_the_start(world, tmp_path):
    (Path(world[2]) / "clips").write_text("five!")
    with pytest.raises(UserError, match=r"node .* does not see the data at .*clips: copy them"):
        with joined(world[0], str(tmp_path), [f"{world[2]}/clips"]):
            pass


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="only root may hide folders from a process (unshare -m)")
def test_a_node_that_comes_later_and_lacks_something_is_told_and_gets_no_stage(tmp_path, capfd):
    gate = tmp_path / "gate"
    with head() as cluster, ThreadPoolExecutor() as pool:
        cluster.add_node(num_cpus=1)
        with session(str(tmp_path / "stages"), hardware(max_failures=1, address=cluster.address), slots=1) as broker:
            asked = [pool.submit(broker.compute, toy("early", x=x, gate=str(gate)), "w") for x in range(4)]
            with node_without(cluster, PACKAGE, num_cpus=4):
                await_nodes(3)
                await_words(capfd, r"node .* has no imer_ray: install there .*; until .* no work goes there")
                gate.touch()
                assert [one.result().metrics["value"] for one in asked] == [0, 1, 2, 3]
                later = [pool.submit(broker.compute, toy("later", x=x), "w") for x in range(4)]
                assert [one.result().metrics["value"] for one in later] == [0, 1, 2, 3]
                counts = broker.stats()["stages"]
                assert counts["early"]["computed"] == counts["later"]["computed"] == 4
                assert counts["later"]["retried"] == 0, "sent to a node that is known to lack what it needs"


def await_words(capfd, pattern):
    """Wait until they stand on the terminal."""
    said = []

    def has_said():
        said.append(capfd.readouterr().err)
        return re.search(pattern, "".join(said))

    until(has_said)

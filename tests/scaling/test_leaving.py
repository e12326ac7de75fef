"""Nodes that go and come: trainings write their checkpoint and go on elsewhere, or with more workers."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray
from draining import drain
from ray.cluster_utils import Cluster
from toy_hardware import hardware, worker_path
from toy_stages import notes, toy
from waiting import until

from imer_ray.scaling import growth
from imer_ray.scaling.cluster import TRIAL_SLOT, session, start
from imer_ray.scaling.leaving import draining
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store

pytestmark = pytest.mark.slow  # starting a cluster takes half a minute
SCALING = hardware(max_failures=0)


@pytest.fixture
def cluster():
    """A head without CPUs, and a function that adds a node with one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", worker_path())
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "resources": {TRIAL_SLOT: 4}})
        start(hardware(max_failures=0, address=made.address))
        yield lambda: made.add_node(num_cpus=1).node_id
        ray.shutdown()
        made.shutdown()


def losses(store, stage):
    history = json.loads((store.open(stage.key).folder / "history.json").read_text())
    return [entry["loss"] for entry in history]


def test_a_training_on_a_drained_node_goes_on_elsewhere_with_its_next_step(cluster, tmp_path):
    log, stages = str(tmp_path / "log"), tmp_path / "stages"
    stage = toy("group", "regress", log=log, batch_size=1, pace=0.1)  # 64 steps an epoch
    alone = toy("alone", "regress", log=log + "alone", batch_size=1)
    run_graph(alone, Store(tmp_path / "undisturbed"))
    first = cluster()
    with session(str(stages), SCALING, slots=1) as broker, ThreadPoolExecutor() as pool:
        asked = pool.submit(broker.compute, stage, "w")
        until(lambda: len(notes(log + ".steps")) > 80)
        drain(first)
        until(lambda: list(draining()) == [first])
        second = cluster()
        asked.result()
        assert broker.stats()["stages"]["group"].get("retried", 0) == 0
    steps = [line.split() for line in notes(log + ".steps")]
    assert {node for _, node in steps} == {first, second}
    assert len(steps) - 6 * 64 <= 0.05 * 64, "steps done twice"
    assert losses(Store(stages), stage) == losses(Store(tmp_path / "undisturbed"), alone)


@pytest.mark.timeout(1800)
def test_at_thirty_random_moments_a_drain_repeats_a_twentieth_of_an_epoch_at_most(cluster, tmp_path):
    rng, num_steps, repeated = random.Random(11), 6 * 64, []
    alone = toy("alone", "regress", log=str(tmp_path / "alone"), batch_size=1)
    run_graph(alone, Store(tmp_path / "undisturbed"))
    node = cluster()
    with session(str(tmp_path / "stages"), SCALING, slots=1) as broker, ThreadPoolExecutor() as pool:
        for number in range(30):
            log = str(tmp_path / f"log{number}")
            stage, moment = toy("group", "regress", log=log, batch_size=1, pace=0.02), rng.randrange(num_steps - 20)
            asked = pool.submit(broker.compute, stage, "w")
            until(lambda log=log, moment=moment: len(notes(log + ".steps")) > moment)
            drain(node)
            left, node = node, cluster()
            asked.result()
            steps = [line.split()[1] for line in notes(log + ".steps")]
            assert {left, node} >= set(steps) and losses(Store(tmp_path / "stages"), stage) == losses(
                Store(tmp_path / "undisturbed"), alone
            )
            repeated.append((len(steps) - num_steps) / 64)
        assert broker.stats()["stages"]["group"].get("retried", 0) == 0
    print(f"repeated, of an epoch: at most {max(repeated):.3f}, mean {sum(repeated) / len(repeated):.4f}")
    assert max(repeated) <= 0.05


def eager(actor):
    growth.LOOK_SECONDS, growth.START_SECONDS = 0.5, 0.0


def test_a_training_goes_on_with_more_workers_when_a_node_comes(cluster, tmp_path):
    log, stages = str(tmp_path / "log"), tmp_path / "stages"
    stage = toy("group", "regress", log=log, pace=1.5)  # five steps an epoch
    alone = toy("alone", "regress", log=log + "alone")
    run_graph(alone, Store(tmp_path / "undisturbed"))
    cluster()
    settings = hardware(max_failures=0, num_workers=2, train_stages=("group",))
    with session(str(stages), settings, slots=1) as broker, ThreadPoolExecutor() as pool:
        ray.get(broker._actor.__ray_call__.remote(eager))
        asked = pool.submit(broker.compute, stage, "w")
        until(lambda: len(notes(log + ".steps")) > 3)
        cluster()
        asked.result()
        assert broker.stats()["stages"]["group"].get("retried", 0) == 0
    sizes = [line.split()[2] for line in notes(log)]
    assert sizes == sorted(sizes) and set(sizes) == {"1", "2"} and len(sizes) == 6
    assert losses(Store(stages), stage) == pytest.approx(losses(Store(tmp_path / "undisturbed"), alone), rel=1e-6)

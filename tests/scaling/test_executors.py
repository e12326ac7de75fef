import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from toy_stages import notes, toy
from waiting import until

from imer_ray.errors import NonFiniteError, UserError
from imer_ray.scaling.cluster import TRIAL_SLOT, session
from imer_ray.scaling.machines import machines
from imer_ray.stages.broker import StageFailed
from imer_ray.stages.claim import Claims
from imer_ray.stages.folders import CLAIMS
from imer_ray.stages.lease import Lease
from imer_ray.stages.machine import hardware
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store


def diamond(log, **first):
    a = toy("a", x=1, log=log, **first)
    b, c = toy("b", x=10, log=log, inputs={"a": a}), toy("c", x=100, log=log, inputs={"a": a})
    return toy("d", x=1000, log=log, inputs={"b": b, "c": c})


@ray.remote(num_cpus=0, resources={TRIAL_SLOT: 2})
def trial(broker, stage, waiter):
    results = [broker.compute(needed, waiter) for needed in stage.in_order()]
    return [(r.name, r.reused, r.metrics["value"]) for r in results], "torch" in sys.modules


@pytest.fixture(scope="module")
def shared(scaling, tmp_path_factory):
    """A broker of tests whose stages no other test has, and which leave it as it was."""
    with session(str(tmp_path_factory.mktemp("shared") / "stages"), scaling, slots=6) as handle:
        yield handle


def test_trials_share_stages_and_hold_no_cpu_while_they_wait(shared, tmp_path):
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    stage = diamond(log, gate=str(gate))
    trials = [trial.remote(shared, stage, f"trial-{number}") for number in range(3)]
    # If trials held CPUs, three that run at once on two CPUs could not leave one free beside the stage.
    until(lambda: not (free := ray.available_resources()).get(TRIAL_SLOT) and len(notes(log)) == 1 and free["CPU"] == 1)
    gate.touch()
    answers = ray.get(trials)
    assert all(not imported_torch for _, imported_torch in answers)
    results = [result for answer, _ in answers for result in answer]
    assert {(name, value) for name, _, value in results} == {("a", 1), ("b", 11), ("c", 101), ("d", 1112)}
    assert sorted(name for name, reused, _ in results if not reused) == ["a", "b", "c", "d"]
    assert len(notes(log)) == 4


def test_hardware_that_is_not_there_yet_is_nobody_elses(scaling):
    """No node has a GPU: whichever comes, times of another run's are not taken for its own."""
    assert machines(0.0, "demo") == hardware(with_gpu=False)
    later = machines(1.0, "demo")
    assert later.startswith("nodes that were not there when demo began on ") and later != machines(1.0, "other")


def test_what_is_asked_for_ahead_is_begun_at_once_and_counts_for_the_first_that_asks(shared, tmp_path):
    log = str(tmp_path / "log")
    stage = toy("a", x=1, log=log)
    shared.ask_ahead([stage], "later")
    until(lambda: len(notes(log)) == 1)
    assert [shared.compute(stage, waiter).reused for waiter in ("later", "other")] == [False, True]
    assert len(notes(log)) == 1


def test_a_worker_process_is_used_again(shared, tmp_path):
    log = str(tmp_path / "log")
    for x in range(6):
        shared.compute(toy("a", x=x, log=log), "w")
    assert len({line.split()[1] for line in notes(log)}) < 6


def test_a_killed_worker_is_replaced_and_resumes(broker, tmp_path):
    log = str(tmp_path / "log")
    whole = broker.compute(toy("count", "count", num_epochs=8, log=log + "1"), "w")
    killed = broker.compute(toy("count", "count", num_epochs=8, die_at=5, log=log + "2"), "w")
    assert killed.metrics == whole.metrics == {"total": 36}
    assert [int(line.split()[0]) for line in notes(log + "2")] == list(range(1, 9))
    assert len({line.split()[1] for line in notes(log + "2")}) == 2
    assert broker.stats()["stages"]["count"]["retried"] == 1


@pytest.fixture
def strict(scaling, tmp_path):
    """A broker that soon takes a stage for silent; on a busy machine it may do so once too often."""
    settings = SimpleNamespace(**{**vars(scaling), "silence_seconds": 3.0, "max_failures": 50})
    with session(str(tmp_path / "stages"), settings, slots=6) as handle:
        yield handle


@pytest.mark.parametrize("accident", ["stop_at", "freeze_at"])
def test_a_process_that_gives_no_sign_of_life_or_work_is_ended_and_another_goes_on(strict, tmp_path, accident):
    log = str(tmp_path / "log")
    stage = toy("count", "count", num_epochs=8, log=log, **{accident: 5})
    assert strict.compute(stage, "w").metrics == {"total": 36}
    silent, ran = int(Path(log + ".died").read_text()), [tuple(map(int, line.split())) for line in notes(log)]
    assert (5, silent) in ran and 8 in dict(ran)
    assert all(pid != silent for epoch, pid in ran if epoch > 5)
    assert len(ran) <= 8, "another process goes on from the checkpoint"
    until(lambda: not Path(f"/proc/{silent}").exists())
    assert strict.stats()["stages"]["count"]["retried"] >= 1


def test_an_unwanted_stage_stops_and_goes_on_when_asked_again(broker, tmp_path):
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    stage = toy("count", "count", num_epochs=100, hold_at=20, gate=str(gate), log=log)

    class Left(Exception):
        pass

    def leave_while_running(status):
        if status.epoch > 3:
            raise Left

    with pytest.raises(Left):
        broker.compute(stage, "one", leave_while_running)
    broker.leave("one")
    until(lambda: broker.stats()["stages"].get("count", {}).get("stopped") == 1)
    assert len(notes(log)) < 100
    gate.touch()
    assert broker.compute(stage, "two").metrics == {"total": 5050}
    assert [int(line.split()[0]) for line in notes(log)] == list(range(1, 101))


@pytest.mark.parametrize(
    ("error", "raised"),
    [("user", UserError), ("nan", NonFiniteError), ("bug", StageFailed)],
    ids=["user", "nan", "bug"],
)
def test_a_failed_stage_is_told_to_all_by_type(shared, tmp_path, error, raised):
    log = str(tmp_path / "log")
    stage = toy("fail", "fail", error=error, log=log)
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(shared.compute, stage, f"w{number}") for number in range(3)]
    assert all(type(future.exception()) is raised for future in futures)
    assert "as expected" in str(futures[0].exception())
    assert notes(log) == ["failed"]
    assert error != "bug" or "line" in futures[0].exception().__notes__[0]  # where it was raised


def test_a_killed_broker_comes_back_with_what_was_finished(broker, tmp_path):
    log = str(tmp_path / "log")
    below = toy("below", x=1, log=log + "1")
    broker.compute(below, "w")
    gate = tmp_path / "gate"
    stage = toy("count", "count", num_epochs=40, hold_at=20, gate=str(gate), log=log + "2")
    pid = ray.get(broker._actor.here.remote()).pid
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(broker.compute, stage, "w")
        until(lambda: len(notes(log + "2")) > 2)
        os.kill(pid, signal.SIGKILL)
        gate.touch()
        assert asked.result().metrics == {"total": 820}
    assert ray.get(broker._actor.here.remote()).pid != pid
    assert broker.compute(below, "w").reused
    assert len(notes(log + "1")) == 1


def test_what_another_search_computes_is_waited_for_and_taken_over_when_that_dies(broker, tmp_path):
    stage, folders = toy("a", x=1, log=str(tmp_path / "log")), Store(tmp_path / "stages").folders
    other, seen = subprocess.Popen(["sleep", "600"]), []
    lease = Lease(pid=other.pid)
    lease.renew(folders)
    assert Claims(folders, lease).take(stage.key) is None

    def end_it(status):
        if status.state == "elsewhere":
            seen.append((status.why, len(notes(str(tmp_path / "log")))))
            other.kill()
            other.wait()

    assert broker.compute(stage, "w", end_it).metrics == {"value": 1}
    assert seen[0] == (f"which another search computes (process {other.pid} on {lease.host})", 0)
    assert len(notes(str(tmp_path / "log"))) == 1
    broker.stop()  # claims are taken back beside the next stages, and before the broker ends
    assert folders.names(CLAIMS) == []


def test_a_broker_that_answers_nothing_is_ended_and_comes_back(strict, tmp_path):
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    stage = toy("count", "count", num_epochs=40, hold_at=20, gate=str(gate), log=log)
    pid = ray.get(strict._actor.here.remote()).pid
    strict.compute(toy("a", x=1), "w")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(strict.compute, stage, "w")
        until(lambda: len(notes(log)) > 2)
        os.kill(pid, signal.SIGSTOP)
        gate.touch()
        assert asked.result().metrics == {"total": 820}
    assert ray.get(strict._actor.here.remote()).pid != pid


def test_stopping_the_broker_ends_its_stages(scaling, tmp_path):
    log = str(tmp_path / "log")
    with session(str(tmp_path / "stages"), scaling, slots=6) as broker, ThreadPoolExecutor() as pool:
        future = pool.submit(broker.compute, toy("count", "count", num_epochs=10_000, sleep=0.05, log=log), "w")
        until(lambda: len(notes(log)) > 2)
        broker.stop()
        assert isinstance(future.exception(), ray.exceptions.RayActorError)
    pid = int(notes(log)[0].split()[1])
    until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.slow
def test_relative_folders_mean_the_same_to_a_worker(broker):
    assert broker.compute(toy("cwd", "cwd"), "w").metrics == {"inode": float(os.stat(".").st_ino)}


def losses(folder):
    return [entry["loss"] for entry in json.loads((folder / "history.json").read_text())]


@pytest.mark.slow
def test_two_workers_give_the_curve_of_one_and_survive_a_kill(broker, tmp_path):
    """Rank 1 is killed after the third epoch; the group that replaces it goes on with the fourth."""
    log, store = str(tmp_path / "log"), Store(tmp_path / "stages")
    alone = toy("alone", "regress", log=log + "1")
    run_graph(alone, Store(tmp_path / "alone"))
    group = toy("group", "regress", die_at=3, log=log + "2")
    result = broker.compute(group, "w")
    expected = losses(Store(tmp_path / "alone").open(alone.key).folder)
    assert losses(store.open(group.key).folder) == pytest.approx(expected, abs=1e-4)
    assert result.metrics["train_loss"] == pytest.approx(expected[-1], abs=1e-4)
    lines = [line.split() for line in notes(log + "2")]
    assert [int(epoch) for epoch, _, _ in lines] == [1, 2, 3, 4, 5, 6]
    assert [pid == lines[0][1] for _, pid, _ in lines] == [True] * 3 + [False] * 3
    assert {world_size for _, _, world_size in lines} == {"2"}
    assert broker.stats()["stages"]["group"]["retried"] == 1
    assert list((tmp_path / "stages" / ".work").iterdir()) == []


@pytest.mark.slow
def test_a_group_of_which_one_worker_is_stopped_is_ended_and_another_goes_on(scaling, tmp_path):
    """The other worker waits for it in a collective, and its process lives: each one's signs count for itself."""
    log, stages = str(tmp_path / "log"), str(tmp_path / "stages")
    with session(stages, SimpleNamespace(**{**vars(scaling), "silence_seconds": 10.0}), slots=6) as broker:
        broker.compute(toy("group", "regress", stop_at=3, log=log), "w")
    lines = [line.split() for line in notes(log)]
    assert [int(epoch) for epoch, _, _ in lines] == [1, 2, 3, 4, 5, 6]
    until(lambda: not Path(f"/proc/{Path(log + '.died').read_text()}").exists())
    until(lambda: not Path(f"/proc/{lines[0][1]}").exists())
    assert list((tmp_path / "stages" / ".work").iterdir()) == []


@pytest.mark.slow
def test_a_loss_that_becomes_nan_is_not_tried_again(broker, tmp_path):
    log = str(tmp_path / "log")
    with pytest.raises(NonFiniteError, match="as expected"):
        broker.compute(toy("group", "fail", error="nan", log=log), "w")
    assert len(notes(log)) <= 2  # once by each worker


JOIN = """
import sys
from imer_ray.config.commands import ScalingConfig
from imer_ray.scaling import cluster
scaling = ScalingConfig(address=sys.argv[1])
cluster.start(scaling)
import ray
print(int(ray.cluster_resources()["trial_slot"]))
ray.shutdown()
cluster.TRIAL_SLOT = "absent_slot"
cluster.start(scaling)
print(cluster.trial_resources())
"""


def test_a_driver_joins_a_cluster_whether_or_not_it_offers_trial_slots(scaling, tmp_path):
    (tmp_path / "join.py").write_text(JOIN)
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "join.py"), address]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert output[0] == "6"
    assert output[1].startswith("{'node:") and output[1].endswith(": 0.001}")

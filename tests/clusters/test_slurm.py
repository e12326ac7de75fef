"""clusters/slurm.sh on two nodes that this machine pretends to be: with a stand-in for Ray, and with Ray."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import ADDRESSES
from pretended import RAY, ROOT, SMALL, Cluster, nodes_that_found_what_one_finds

pytestmark = pytest.mark.usefixtures("namespaces")
SCRIPT = ROOT / "clusters" / "slurm.sh"
STAND_IN = """
import json, os, stat, subprocess, sys
words, node = sys.argv[1:], os.environ["SLURM_NODEID"]
token = os.environ["RAY_AUTH_TOKEN_PATH"]
(temp,) = (word.partition("=")[2] for word in words if word.startswith("--temp-dir="))
closed = oct(os.stat(os.path.dirname(temp)).st_mode)
token = [open(token).read(), oct(os.stat(token).st_mode)]
said = {"closed": closed, "words": words, "environment": dict(os.environ), "token": token}
json.dump(said, open(f"ray-{node}.json", "w"))
end = words.index("--")
sys.exit(subprocess.run(words[end + 1 :] if node == "0" else ["sleep", "1000"]).returncode)
"""
SEARCH = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
json.dump(sys.argv[1:], open("search.json", "w"))
while "forever" in sys.argv:
    time.sleep(0.1)
sys.exit(int(os.environ["SEARCH_STATUS"]))
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Where a stand-in notes how Ray is called, and runs the job's command on the head."""
    return Cluster(SCRIPT, tmp_path, [sys.executable, "-c", STAND_IN], [sys.executable, "-c", SEARCH])


def calls(cluster: Cluster) -> list[dict[str, Any]]:
    return [json.loads((cluster.folder / f"ray-{node}.json").read_text()) for node in range(2)]


def flags(call: Mapping[str, Any]) -> dict[str, str]:
    words = call["words"][1 : call["words"].index("--")]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def test_every_node_is_started_alike_and_the_head_searches(cluster: Cluster) -> None:
    status, said = cluster.run("study.name=my demo", "study.num_trials=5", SLURM_GPUS_ON_NODE="2")
    assert status == 0, said
    assert json.loads((cluster.folder / "search.json").read_text()) == [
        *("-m", "imer_ray.search", "study.name=my demo", "study.num_trials=5")
    ]
    for call in calls(cluster):
        given = flags(call)
        assert call["words"][0] == "symmetric-run" and given["--min-nodes"] == "2"
        assert (
            given["--address"].startswith(f"{ADDRESSES[0]}:")
            and given["--address"] == call["environment"]["RAY_ADDRESS"]
        )
        assert (given["--num-cpus"], given["--num-gpus"], given["--resources"]) == ("1", "2", '{"trial_slot": 64}')
        assert len(f"{given['--temp-dir']}/session_2026-01-31_12-00-00_123456_4194304/sockets/plasma_store") < 107
        assert call["closed"] == "0o40700" and not Path(given["--temp-dir"]).parent.exists()
    assert [call["environment"]["GLOO_SOCKET_IFNAME"] for call in calls(cluster)] == ["eth0", "eth1"]
    assert len({flags(call)["--temp-dir"] for call in calls(cluster)}) == 2
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts} | {"--min-nodes"}
    assert [set(flags(call)) - known for call in calls(cluster)] == [set(), set()]


def test_a_token_of_the_job_s_own_is_read_by_its_owner_only_and_goes_with_the_job(cluster: Cluster) -> None:
    tokens = []
    for _ in range(2):
        cluster.run()
        for call in calls(cluster):
            assert call["environment"]["RAY_AUTH_MODE"] == "token" and call["token"][1] == "0o100600"
        (token,) = {call["token"][0] for call in calls(cluster)}
        assert len(token) == 64
        assert token not in json.dumps([[call["words"], list(call["environment"].values())] for call in calls(cluster)])
        tokens.append(token)
    assert tokens[0] != tokens[1] and list((cluster.folder / "runs").iterdir()) == []


def test_two_jobs_on_a_node_use_different_ports(cluster: Cluster) -> None:
    ports = []
    for job in ("4711", "4712"):
        cluster.run(SLURM_JOB_ID=job)
        head = flags(calls(cluster)[0])
        ports.append(head["--address"].rpartition(":")[2])
        ports += [head["--ray-client-server-port"], head["--dashboard-agent-listen-port"]]
        assert head["--min-worker-port"] == head["--max-worker-port"] == "0"  # any that is free
        assert head["--num-gpus"] == "0"  # where Slurm says nothing of any
    assert len(set(ports)) == 6


def test_what_the_search_ends_with_is_what_the_job_ends_with(cluster: Cluster) -> None:
    status, _ = cluster.run(SEARCH_STATUS="2")
    assert status == 2 and not cluster.requeued


@pytest.mark.parametrize(("name", "requeued"), [("SIGUSR1", True), ("SIGTERM", False)])
def test_when_the_time_is_up_the_search_ends_whole_and_the_job_queues_again(
    cluster: Cluster, name: str, requeued: bool
) -> None:
    """But not when somebody else ends it, who may not want that."""
    with cluster.begin("forever") as batch:
        status, said = cluster.tell(batch, name, after=cluster.folder / "search.json")
    assert status == 130 and cluster.requeued == requeued, said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_and_a_second_start_find_what_one_machine_finds(tmp_path: Path) -> None:
    cluster = Cluster(SCRIPT, tmp_path, RAY, [sys.executable])
    with cluster.begin(*SMALL) as batch:
        status, said = cluster.tell(batch, "SIGUSR1", after=tmp_path / "runs" / "stages")
    assert status == 130 and cluster.requeued, said
    status, said = cluster.run(*SMALL, SLURM_RESTART_COUNT="1")
    assert status == 0 and "VINFO" not in said, said
    assert len(nodes_that_found_what_one_finds(tmp_path)) >= 2


TWO_JOBS = f"""
SLURM_JOB_ID=4711 bash {SCRIPT} study.name=first "$@" study.num_trials=1 > first.log 2>&1 &
until [ -e runs/first ]; do sleep 0.2; done
SLURM_JOB_ID=4712 bash {SCRIPT} study.name=second "$@" > second.log 2>&1 && wait $!
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_jobs_on_one_node_do_not_meet(tmp_path: Path) -> None:
    """Else Ray refuses the second where the first runs, and the first to end ends the other's."""
    both = tmp_path / "both.sh"
    both.write_text(TWO_JOBS)
    cluster = Cluster(both, tmp_path, RAY, [sys.executable])
    status, _ = cluster.run(*SMALL, SLURM_JOB_NUM_NODES="1")
    assert status == 0, [path.read_text() for path in tmp_path.glob("*.log")]
    assert {path.parent.name for path in tmp_path.glob("runs/*/results.parquet")} == {"first", "second"}

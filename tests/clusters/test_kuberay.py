"""clusters/kuberay.yaml is what KubeRay and Kubernetes take, and the search knows what its command sets."""

from __future__ import annotations

import copy
import json
import re
import secrets
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from fake_slurm import ADDRESSES
from pretended import RAY, SMALL, Cluster, nodes_that_found_what_one_finds

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose

ROOT = Path(__file__).parents[2]
CLAIM, JOB = yaml.safe_load_all((ROOT / "clusters" / "kuberay.yaml").read_text())
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay_schema.yaml").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
HEAD = CLUSTER["headGroupSpec"]
(WORKERS,) = CLUSTER["workerGroupSpecs"]
PODS = [group["template"]["spec"] for group in (HEAD, WORKERS)]
CONTAINERS = [pod["containers"][0] for pod in PODS]
WORDS = shlex.split(JOB["spec"]["entrypoint"])
OPTIONS = compose(SearchConfig, "search", WORDS[3:])


def validate(what: dict[str, Any]) -> None:
    jsonschema.validate(what, SCHEMA | {"$ref": f"#/$defs/{what['kind']}"})


def test_it_is_a_rayjob_and_a_claim() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validate(JOB)
    validate(CLAIM)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(entryPoint=spec.pop("entrypoint")),
        lambda spec: spec.update(backoffLimit="2"),
        lambda spec: spec["rayClusterSpec"].pop("headGroupSpec"),
        lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].update(minReplicas="0"),
        lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["volumes"][0].pop("name"),
    ],
)
def test_a_mistake_would_be_found(spoil: Callable[[dict[str, Any]], object]) -> None:
    spoilt = copy.deepcopy(JOB)
    spoil(spoilt["spec"])
    with pytest.raises(jsonschema.ValidationError):
        validate(spoilt)


def test_the_command_is_the_search_and_needs_no_shell() -> None:
    """KubeRay takes the words apart and loses quotes on the way."""
    assert WORDS[:3] == ["python", "-m", "imer_ray.search"]
    assert not set(JOB["spec"]["entrypoint"]) & set("'\"$;&|<>\\~")


def test_workers_come_and_go() -> None:
    assert CLUSTER["enableInTreeAutoscaling"] and (WORKERS["minReplicas"], WORKERS["maxReplicas"]) == (0, 8)
    assert JOB["spec"]["shutdownAfterJobFinishes"] and JOB["spec"]["ttlSecondsAfterFinished"] >= 600  # for the report


def test_trials_wait_on_the_head_and_stages_fit_on_a_worker() -> None:
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    slots = json.loads(json.loads(HEAD["rayStartParams"]["resources"]))["trial_slot"]  # quoted for KubeRay's own shell
    assert slots >= OPTIONS.study.slots
    limits = CONTAINERS[1]["resources"]["limits"]
    assert OPTIONS.scaling.cpus_per_stage <= float(limits["cpu"])
    assert 0 < OPTIONS.scaling.gpus_per_stage <= float(limits["nvidia.com/gpu"])
    assert OPTIONS.scaling.num_workers == 0


def test_what_counts_is_in_a_volume_that_all_nodes_write_to() -> None:
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod, container in zip(PODS, CONTAINERS, strict=True):
        (claim,) = (volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume)
        assert claim["persistentVolumeClaim"] == {"claimName": CLAIM["metadata"]["name"]}
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == claim["name"])
        assert mount["mountPath"] == OPTIONS.study.root and not mount.get("readOnly")
    assert OPTIONS.study.stages is None  # beside the studies


def test_nothing_runs_as_root_and_everybody_needs_the_token() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}
    limited = [CLUSTER["autoscalerOptions"], *CONTAINERS]
    assert all(one["securityContext"]["capabilities"] == {"drop": ["ALL"]} for one in limited)
    assert not any(one["securityContext"]["allowPrivilegeEscalation"] for one in limited)
    assert all(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] for pod in PODS)


def test_requests_and_limits_are_the_same() -> None:
    """A pod with more than it asked for is ended first where memory is short."""
    assert all(container["resources"]["requests"] == container["resources"]["limits"] for container in CONTAINERS)


def test_the_versions_and_the_image_are_the_same_throughout() -> None:
    assert CLUSTER["rayVersion"] == ray.__version__
    texts = [(ROOT / name).read_text() for name in ("Dockerfile", "clusters/kuberay.yaml", "clusters/rayservice.yaml")]
    assert len({name for text in texts for name in re.findall(r"registry\.example/\S+", text)}) == 1


def started(parameters: Mapping[str, str]) -> str:
    """How KubeRay writes ``rayStartParams`` into the shell command of a pod."""
    return " ".join(f"--{name}={value}" for name, value in parameters.items())


# As KubeRay's operator: each pod starts Ray, and a submitter gives the entrypoint to the head and follows it.
OPERATOR = f"""
srun bash -c '
if [ "$SLURM_NODEID" = 0 ]; then
  ray start --head --dashboard-host=0.0.0.0 {started(HEAD["rayStartParams"])} --block > head.log 2>&1 &
  until ray job list --address http://127.0.0.1:8265 > /dev/null 2>&1; do sleep 1; done
  ray job submit --address http://127.0.0.1:8265 --submission-id demo -- "$@"
  echo $? > searched
else
  worker="--address={ADDRESSES[0]}:6379 {started(WORKERS["rayStartParams"])} --num-cpus=1 --num-gpus=0"
  until ray start $worker; do sleep 1; done > worker.log 2>&1
  until [ -e searched ]; do sleep 0.2; done
fi' pods "$@"
exit "$(cat searched)"
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("namespaces")
def test_a_head_and_a_worker_find_what_one_machine_finds(tmp_path: Path) -> None:
    operator = tmp_path / "operator.sh"
    operator.write_text(OPERATOR)
    words = dict(word.split("=", 1) for word in [*WORDS[3:], *SMALL])
    words |= {"study.root": str(tmp_path / "runs"), "scaling.gpus_per_stage": "0", "scaling.cpus_per_stage": "1"}
    entrypoint = ["python", *WORDS[1:3], *(f"{name}={value}" for name, value in words.items())]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cluster = Cluster(operator, tmp_path, RAY, [sys.executable])
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # as sockets need it
        status, said = cluster.run(*entrypoint, HOME=str(tmp_path), RAY_TMPDIR=short, **token)
    assert status == 0, said
    assert len(nodes_that_found_what_one_finds(tmp_path)) == 1  # the worker: trials wait on the head

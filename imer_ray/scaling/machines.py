"""Which hardware the stages of a session may run on."""

from __future__ import annotations

import socket

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from imer_ray.stages.machine import hardware

ANSWER_SECONDS = 60.0  # a node may have to start a process first


def machines(gpus_per_stage: float, run: str) -> str:
    """The kinds of hardware, in words, of all nodes that are there and that a stage may run on.

    Nodes that come later may be of any kind, and another run's of another. So what is measured on them is this run's
    alone, which the head's host and its name (a study's, or a folder of models) tell from others.
    """
    with_gpu = gpus_per_stage > 0
    wanted = "GPU" if with_gpu else "CPU"
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(wanted)]
    here = ray.get_runtime_context().get_node_id()
    if nodes == [here]:
        return hardware(with_gpu)
    ask = ray.remote(num_cpus=0, max_retries=0)(hardware)
    tasks = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(with_gpu)
        for node in nodes
    ]
    ready = ray.wait(tasks, num_returns=len(tasks), timeout=ANSWER_SECONDS)[0] if tasks else []
    later = f"nodes that were not there when {run} began on {socket.gethostname()}"
    kinds = set(ray.get(ready)) | ({later} if len(ready) < len(tasks) or not tasks else set())
    return " or ".join(sorted(kinds))

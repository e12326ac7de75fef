"""Start Ray on this machine, or join a cluster."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

import ray

from imer_ray.scaling import nodes
from imer_ray.scaling.broker import start_broker
from imer_ray.scaling.capacity import NODE_TYPE_LABEL, check_capacity, grows
from imer_ray.scaling.handle import BrokerHandle
from imer_ray.scaling.hardware import Hardware
from imer_ray.scaling.join import join
from imer_ray.scaling.local import local_ray
from imer_ray.scaling.newcomers import Newcomers
from imer_ray.stages.store import Store

TRIAL_SLOT = "trial_slot"
"""A trial holds one of these and no CPU. A local Ray gets as many as are asked for; on a cluster the nodes that are to
host trials declare their own: ``ray start --resources='{"trial_slot": 8}'``, or ``resources:`` in the cluster's YAML.
Where none does, the driver's node hosts all."""
SHARE = 0.001  # of a resource that each node has one of

JOIN_SECONDS = 60.0  # after which a cluster that does not answer is not waited for any more

_local = contextlib.ExitStack()  # the Ray that this process started, if it did
atexit.register(_local.close)


@contextlib.contextmanager
def session(stages: str, scaling: Hardware, slots: int, data: Sequence[str] = ()) -> Iterator[BrokerHandle]:
    """Ray with a broker for the artefacts under ``stages``, as long as the context lasts.

    Args:
        data: files and folders that the stages read, to be seen by every node.

    Raises:
        UserError: the store cannot be used, the cluster cannot be joined, no node can ever hold a stage, or one of them
            lacks what stages need.
    """
    Store(stages).prepare()
    was_running = ray.is_initialized()
    try:
        with _our_handlers():
            start(scaling, slots)
        check_capacity(scaling)
        address = None if was_running else scaling.address or os.environ.get("RAY_ADDRESS")
        with _our_handlers():
            looked_at = _look_at_nodes(stages, data, address)
        broker = start_broker(stages, scaling)
        newcomers = Newcomers(broker, stages, data, looked_at) if was_running or address is not None else None
        try:
            yield broker
        finally:
            if newcomers is not None:
                newcomers.stop()
            broker.stop()
    finally:
        if not was_running:
            stop()


def _look_at_nodes(stages: str, data: Sequence[str], address: str | None) -> list[str]:
    """See that all nodes have what stages need; to those without our code it is sent, on a cluster that was joined for
    this, and to all that will come where nobody is there yet who could be asked.

    Args:
        address: of that cluster; None: somebody else has joined it.

    Returns:
        The nodes that were looked at.
    """
    there = nodes.others()
    if not there and not grows():
        return []
    ours, answers = nodes.ask(stages, data, there)
    if address is not None and (nodes.lacks_code(ours, answers) or not there):
        others = "the other nodes, which have none or another" if there else "the nodes that come"
        print(f"sending imer_ray's code to {others}", file=sys.stderr, flush=True)
        ray.shutdown()
        join(address, JOIN_SECONDS, {"py_modules": [nodes.package_folder()], "excludes": ["__pycache__"]})
        there = nodes.others()
        ours, answers = nodes.ask(stages, data, there)
    nodes.check(ours, answers, stages)
    return [node["NodeID"] for node in there]


@contextlib.contextmanager
def _our_handlers() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray would end it with a stack of its own, and its exit status."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def node_types() -> list[str]:
    """The type of every node that is alive: its name in the cluster's YAML, which Ray keeps as a label; else local."""
    return [node["Labels"].get(NODE_TYPE_LABEL, "local") for node in ray.nodes() if node["Alive"]]


def start(scaling: Hardware, num_slots: int = 4) -> None:
    """`connect`; a Ray of our own gets ``num_slots`` trial slots.

    Raises:
        UserError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        return
    # No node is reclaimed under a local Ray, and a watcher for that would be one more process per worker group.
    watcher = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
    connect(scaling.address, math.ceil(scaling.cpus_per_stage), {TRIAL_SLOT: num_slots}, watcher)


def connect(
    address: str | None, num_cpus: int, resources: Mapping[str, float], environment: Mapping[str, str]
) -> str | None:
    """Join the cluster at ``address`` or RAY_ADDRESS, or else start Ray here, unless it runs already.

    Args:
        num_cpus: that a Ray started here has at least, besides ``resources``.
        environment: of a Ray started here, where the user has not set the same.

    Returns:
        The address of the cluster that was joined.

    Raises:
        UserError: the cluster cannot be reached, or Ray does not start here.
    """
    if ray.is_initialized():
        return None
    _local.close()  # whoever used it has shut it down
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")  # else waiting trials are warned about
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns; stages are told their device
    address = address or os.environ.get("RAY_ADDRESS")
    if address in (None, "", "local"):
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        _local.enter_context(local_ray(num_cpus, resources))
        return None
    join(address, JOIN_SECONDS)
    return address


@contextlib.contextmanager
def connected(address: str | None, num_cpus: int, environment: Mapping[str, str]) -> Iterator[bool]:
    """`connect`, as long as the context lasts; what this process does on SIGTERM stays as it is.

    Yields:
        Whether this Ray ends with the context, and all that runs on it.

    Raises:
        UserError: the cluster cannot be reached, or Ray does not start here.
    """
    was_running = ray.is_initialized()
    try:
        with _our_handlers():
            joined = connect(address, num_cpus, {}, environment)
        yield not was_running and joined is None
    finally:
        if not was_running:
            stop()


def trial_resources() -> dict[str, float]:
    """What a trial holds: a slot where any node offers some, else next to nothing of the driver's own node. No more are
    in flight than the searcher proposes."""
    if ray.cluster_resources().get(TRIAL_SLOT):
        return {TRIAL_SLOT: 1}
    return {f"node:{ray.util.get_node_ip_address()}": SHARE}


def stop() -> None:
    """Leave the cluster, or end the Ray that this process started."""
    _local.close()
    ray.shutdown()

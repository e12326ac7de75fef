"""Start Ray on this machine, or join a cluster."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping

import ray

from imer_ray.errors import UserError
from imer_ray.files import shipped_folder
from imer_ray.scaling.broker import BrokerHandle, start_broker
from imer_ray.scaling.capacity import NODE_TYPE_LABEL, check_capacity
from imer_ray.scaling.hardware import Hardware
from imer_ray.scaling.join import join
from imer_ray.scaling.local import local_ray
from imer_ray.stages.store import Store

TRIAL_SLOT = "trial_slot"
"""A trial holds one of these and no CPU. A local Ray gets as many as are asked for; on a cluster every node that may
host trials declares its own: ``ray start --resources='{"trial_slot": 8}'``, or ``resources:`` in the cluster's YAML."""

JOIN_SECONDS = 60.0  # after which a cluster that does not answer is not waited for any more

_local = contextlib.ExitStack()  # the Ray that this process started, if it did
atexit.register(_local.close)


@contextlib.contextmanager
def session(stages: str, scaling: Hardware, slots: int) -> Iterator[BrokerHandle]:
    """Ray with a broker for the artefacts under ``stages``, as long as the context lasts.

    Raises:
        UserError: the store cannot be used, the cluster cannot be joined, or no node can ever hold a stage.
    """
    Store(stages).prepare()
    was_running = ray.is_initialized()
    try:
        with _our_handlers():
            start(scaling, slots)
        check_capacity(scaling)
        broker = start_broker(stages, scaling)
        try:
            yield broker
        finally:
            broker.stop()
    finally:
        if not was_running:
            stop()


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
    """`connect`, to a Ray that offers trial slots; a local one gets ``num_slots``.

    Raises:
        UserError: the cluster cannot be reached, or none of its nodes offers a trial slot.
    """
    if ray.is_initialized():
        return
    # No node is reclaimed under a local Ray, and a watcher for that would be one more process per worker group.
    watcher = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
    address = connect(scaling.address, math.ceil(scaling.cpus_per_stage), {TRIAL_SLOT: num_slots}, watcher)
    if not ray.cluster_resources().get(TRIAL_SLOT):
        ray.shutdown()
        raise UserError(
            f"no node of the Ray cluster at {address} offers {TRIAL_SLOT}: start its nodes with "
            f"--resources='{{\"{TRIAL_SLOT}\": {num_slots}}}' (see {shipped_folder('clusters')})"
        )


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


def check_slots() -> None:
    """Refuse a Ray on which no trial would ever start, as one that this process had started for something else.

    Raises:
        UserError: no node offers a trial slot.
    """
    if not ray.cluster_resources().get(TRIAL_SLOT):
        raise UserError(
            f"Ray runs in this process without any {TRIAL_SLOT}, which trials need: end it first with ray.shutdown(), "
            f'or start it with ray.init(resources={{"{TRIAL_SLOT}": 4}})'
        )


def stop() -> None:
    """Leave the cluster, or end the Ray that this process started."""
    _local.close()
    ray.shutdown()

"""The server on Ray Serve: replicas of a model, asked by the command's front or, on Kubernetes, by an ingress.

``imer_ray.serving.app:build`` is what a Serve configuration names as ``import_path`` (``clusters/rayservice.yaml``).
"""

from __future__ import annotations

import contextlib
import logging
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from imer_ray.config.commands import ServeConfig
from imer_ray.config.resolve import config_of, tree_of
from imer_ray.errors import UserError
from imer_ray.scaling.cluster import connected
from imer_ray.serving.answer import Answer
from imer_ray.serving.batcher import Gone
from imer_ray.serving.front import Front
from imer_ray.serving.loopback import listen_on_loopback

BATCHES = 2  # that a replica has at a time: one that it works on, and one that is there when it has done
HEALTH_PERIOD_SECONDS = 1.0  # in which Serve learns that a replica died
SHUTDOWN_SECONDS = 5.0  # that a replica gets to end
# Ray's workers are nicer than others by 15, and would starve beside the front that waits for them.
ENVIRONMENT = {"RAY_worker_niceness": "0"}


class Replica:
    """A deployment: `imer_ray.serving.worker.Worker` in a process of its own.

    Its methods block the loop that runs them, so that a batch has the model for itself.
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        from imer_ray.serving.worker import Worker

        listen_on_loopback()  # before Serve opens the port, which is when this has returned
        self._worker = Worker(config_of(tree, ServeConfig))

    async def answer(self, bodies: Sequence[bytes]) -> list[Answer]:
        return self._worker.answer(bodies)

    async def describe(self) -> dict[str, Any]:
        return self._worker.describe()


class Replicas:
    """All replicas, as the service that a front asks."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def answer(self, bodies: Sequence[bytes]) -> list[Answer]:
        try:
            return await self._handle.answer.remote(bodies)
        except RayTaskError:  # the replica lives, and raised
            raise
        except RayError as error:
            raise Gone from error

    async def describe(self) -> dict[str, Any]:
        return await self._handle.describe.remote()


@serve.ingress()
class Ingress:
    """A deployment: the front, behind Serve's own proxies."""

    def __init__(self, replicas: DeploymentHandle, tree: Mapping[str, Any]) -> None:
        listen_on_loopback()
        self._front = front(replicas, config_of(tree, ServeConfig))

    def __serve_build_asgi_app__(self) -> Front:
        return self._front


def front(replicas: DeploymentHandle, config: ServeConfig) -> Front:
    return Front(Replicas(replicas), config.limits, slots=BATCHES * config.scaling.num_replicas)


def build(args: Mapping[str, Any]) -> Application:
    """The application for Serve's own proxies, of the command's settings as a tree: ``{"model": "models/quality"}``.

    Raises:
        UserError: a setting is unknown or of the wrong type.
    """
    config = config_of(args, ServeConfig)
    return serve.deployment(name="Ingress")(Ingress).bind(_replicas(config), tree_of(config))


def _replicas(config: ServeConfig) -> Application:
    deployment = serve.deployment(
        name="Replica",
        num_replicas=config.scaling.num_replicas,
        max_ongoing_requests=BATCHES,
        ray_actor_options={"num_cpus": config.scaling.cpus_per_replica},
        health_check_period_s=HEALTH_PERIOD_SECONDS,
        graceful_shutdown_timeout_s=SHUTDOWN_SECONDS,
    )
    return deployment(Replica).bind(tree_of(config))


@contextlib.contextmanager
def replicas(config: ServeConfig) -> Iterator[tuple[DeploymentHandle, dict[str, Any]]]:
    """Replicas that answer, without proxies of Serve's, and what they say of themselves, as long as the context lasts.

    Raises:
        UserError: Ray cannot be joined or started, the model cannot be opened, or there is no room for the replicas.
    """
    scaling = config.scaling
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    num_cpus = math.ceil(scaling.num_replicas * scaling.cpus_per_replica)
    with connected(scaling.address, num_cpus, ENVIRONMENT) as is_ours:
        _check_room(config)
        name = f"imer_ray-{uuid.uuid4().hex[:8]}"  # others may serve on the same cluster
        try:
            described = ray.remote(num_cpus=0, max_retries=0)(_describe).remote(tree_of(config))
            serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR", "enable_access_log": False})
            said = _get(described)
            yield serve.run(_replicas(config), name=name, route_prefix=None), said
        finally:
            if not is_ours:
                _end(name)


def _describe(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What a replica will say; opened once beforehand, because Serve tries again and again what cannot be opened."""
    from imer_ray.serving.worker import Worker

    return Worker(config_of(tree, ServeConfig)).describe()


def _get(described: ray.ObjectRef) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ray.get(described)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
    return found


def _check_room(config: ServeConfig) -> None:
    scaling = config.scaling
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    room = sum(math.floor(cpus / scaling.cpus_per_replica) for cpus in nodes)
    if room < scaling.num_replicas:
        raise UserError(
            f"{scaling.num_replicas} replicas of {scaling.cpus_per_replica:g} CPUs have no room on nodes with "
            f"{', '.join(f'{cpus:g}' for cpus in nodes)} CPUs: ask for less (scaling.num_replicas, "
            "scaling.cpus_per_replica)"
        )


def _end(name: str) -> None:
    """Take the application down, and Serve too if nobody else's is on it."""
    with contextlib.suppress(RayError, KeyError):
        serve.delete(name)
    if not serve.status().applications:
        serve.shutdown()

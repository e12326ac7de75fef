"""Join a Ray cluster, or say in one sentence why that cannot be."""

from __future__ import annotations

import json
import logging
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray._private import services
from ray.exceptions import RayError

from imer_ray.errors import UserError
from imer_ray.scaling.local import check_token_file
from imer_ray.uris import refuse_secrets

PATIENCE_SECONDS = 3.0  # that a user waits without a word
POLL_SECONDS = 0.5

# Ray's own client tries for a quarter of an hour, prints all the while, and cannot be broken off. A process of its own
# can: it asks who the cluster is, and whether this machine is one of its nodes, where alone a driver may run.
LOOK = """
import json, sys
from ray._common.usage.usage_lib import get_cluster_metadata
from ray._private.authentication import authentication_token_setup as setup
from ray._private.services import find_node_ids
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
if sys.argv[2] == "auto":
    setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
try:
    setup.ensure_token_if_auth_enabled(create_token_if_missing=False)
    client = GcsClient(address=sys.argv[1])
    found = get_cluster_metadata(client)
    here = {node.hex() for node in client.get_all_node_info(timeout=30)}.intersection(find_node_ids())
    print(json.dumps({"ray": found["ray_version"], "python": found["python_version"], "is_node": bool(here)}))
except AuthenticationError:
    print(json.dumps({"refused": True}))
"""


def join(address: str, deadline: float, runtime_env: Mapping[str, Any] | None = None) -> None:
    """Connect this process to the cluster at ``address``: ``host:port``, or ``auto`` for one that runs on this machine.

    Args:
        runtime_env: what Ray provides for our processes on all nodes.

    Raises:
        UserError: there is none that answers within ``deadline`` seconds, or none that this process may join.
    """
    refuse_secrets("scaling.address or RAY_ADDRESS", address if "://" in address else f"ray://{address}")
    _check_form(address)
    check_token_file()
    try:
        resolved = services.canonicalize_bootstrap_address_or_die(address)
        _wait_for_port(resolved, address, deadline)
        _look(resolved, address, deadline)
        provided = None if runtime_env is None else dict(runtime_env)
        ray.init(address=address, runtime_env=provided, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise UserError(f"cannot join the Ray cluster at {address}: {str(error).splitlines()[0]}") from error


def _check_form(address: str) -> None:
    if "://" in address:
        raise UserError(
            f"cannot join the Ray cluster at {address}: give the address of its head as host:port (scaling.address or "
            "RAY_ADDRESS) and run the command on one of its nodes, for example with ray job submit"
        )
    port = re.fullmatch(r"(?:[^\s:]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", address)
    if address != "auto" and not (port and 0 < int(port[1]) < 65536):
        raise UserError(
            f"{address!r} is no address of a Ray cluster: scaling.address or RAY_ADDRESS must be host:port, for "
            "example 10.0.0.1:6379, or auto; without them Ray is started here"
        )


def _wait_for_port(resolved: str, address: str, deadline: float) -> None:
    """Wait until something listens: a cluster may be about to start."""
    host, _, port = resolved.rpartition(":")
    begun, said = time.monotonic(), False
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=min(5.0, deadline)).close()
            return
        except OSError as error:
            reason = error.strerror or str(error)
        if (waited := time.monotonic() - begun) >= deadline:
            raise UserError(
                f"no Ray cluster answers at {address} ({reason}, after {waited:.0f} s): check scaling.address or "
                "RAY_ADDRESS, and whether the cluster runs; without them Ray is started here"
            )
        if waited >= PATIENCE_SECONDS and not said:
            print(f"waiting for the Ray cluster at {address} ({reason})", file=sys.stderr, flush=True)
            said = True
        time.sleep(min(POLL_SECONDS, deadline))


def _look(resolved: str, address: str, deadline: float) -> None:
    """Check that this process may join, before Ray tries."""
    command = [sys.executable, "-P", "-c", LOOK, resolved, address]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=deadline)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"what listens at {address} does not answer as a Ray cluster within {deadline:.0f} s: check "
            "scaling.address or RAY_ADDRESS, which must name the port of the cluster's GCS (6379 by default)"
        ) from error
    if done.returncode != 0:
        raise ConnectionError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    _check_answer(json.loads(done.stdout), address)


def _check_answer(found: dict[str, Any], address: str) -> None:
    if "refused" in found:
        raise UserError(
            f"the Ray cluster at {address} refuses this process's token, or that it has none: set RAY_AUTH_MODE=token, "
            "and RAY_AUTH_TOKEN_PATH to a file with the cluster's"
        )
    theirs, ours = (found["ray"], found["python"]), (ray.__version__, platform.python_version())
    if theirs != ours:
        raise UserError(
            f"the Ray cluster at {address} runs Ray {theirs[0]} on Python {theirs[1]}, but here is Ray {ours[0]} on "
            f"Python {ours[1]}: install the same versions"
        )
    if not found["is_node"]:
        raise UserError(
            f"this machine is no node of the Ray cluster at {address}: run the command on a node, for example with ray "
            f"job submit, or make this machine one with ray start --address={address}"
        )

"""Replicas whose port for calls from other deployments is not open to other machines and users.

Ray Serve's own listens on all interfaces, wherever its node is, and unpickles what comes in, with no more protection
than Ray's token.
"""

from __future__ import annotations

import importlib
from ipaddress import ip_address
from typing import Any

from ray.util import get_node_ip_address


def listen_on_loopback() -> None:
    """From now on, a replica in this process listens on the loopback only, if that is where its node is."""
    host = get_node_ip_address()
    if not ip_address(host).is_loopback:
        return
    module: Any = importlib.import_module("ray.serve._private.replica")
    add = module.add_port_to_grpc_server
    module.add_port_to_grpc_server = lambda server, address: add(server, f"{host}:{address.rpartition(':')[2]}")

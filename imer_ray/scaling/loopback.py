"""Worker groups whose store, by which the workers find each other, is not open to other machines and users.

PyTorch's own listens on all interfaces, wherever its clients are, and asks for no token.
"""

from __future__ import annotations

import importlib
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend


@dataclass
class LoopbackTorchConfig(TorchConfig):
    """As Ray's own; on a Ray that is on the loopback, the group's store is there as well."""

    @property
    def backend_cls(self) -> type:
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(listen_on_loopback)
        super().on_start(worker_group, backend_config)


def listen_on_loopback() -> None:
    """From now on, this process's store for a group at a loopback address listens there only."""
    from torch.distributed import TCPStore

    module: Any = importlib.import_module("torch.distributed.rendezvous")  # the package has a function of this name

    def store(*, host_name: str, port: int, is_master: bool, **settings: Any) -> TCPStore:
        if is_master and _is_loopback(host_name):
            settings["master_listen_fd"] = socket.create_server((host_name, port)).detach()
        return TCPStore(host_name=host_name, port=port, is_master=is_master, **settings)

    module.TCPStore = store


def _is_loopback(host_name: str) -> bool:
    try:
        return ip_address(host_name).is_loopback
    except ValueError:
        return host_name == "localhost"

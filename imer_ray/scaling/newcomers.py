"""Nodes that join while a command runs, as an autoscaler's do, are looked at as those that were there at the start."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Sequence

import ray
from ray.exceptions import RayError

from imer_ray.errors import UserError
from imer_ray.scaling import nodes
from imer_ray.scaling.handle import BrokerHandle

LOOK_SECONDS = 2.0


class Newcomers:
    """A thread of the driver's. A node that lacks something is told on the terminal, and gets no stage.

    Args:
        broker: it is told of the nodes.
        store_root: folder or URI.
        data: files and folders that stages read.
        known: the nodes that have been looked at.
    """

    def __init__(self, broker: BrokerHandle, store_root: str, data: Sequence[str], known: Iterable[str]) -> None:
        self._broker, self._store_root, self._data = broker, store_root, data
        self._known, self._unfit = {ray.get_runtime_context().get_node_id(), *known}, set[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """A look that has begun is not waited for: a node may take its time."""
        self._over.set()

    def _watch(self) -> None:
        while ray.is_initialized():
            with contextlib.suppress(RayError, OSError, RuntimeError):  # the cluster's head does not answer now
                self._broker.looked_at(self._known, self._unfit)  # each time: it may have been restarted
                for node in nodes.others():
                    if node["NodeID"] not in self._known:
                        self._look_at(node)
            if self._over.wait(LOOK_SECONDS):
                return

    def _look_at(self, node: nodes.Node) -> None:
        try:
            nodes.check(*nodes.ask(self._store_root, self._data, [node]), self._store_root)
        except UserError as error:
            self._unfit.add(node["NodeID"])
            print(f"{error}; until it has been started anew, no work goes there", file=sys.stderr, flush=True)
        self._known.add(node["NodeID"])

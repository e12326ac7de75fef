"""Nodes that are about to be taken away: a spot machine under notice, one that an operator or an autoscaler drains."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator

import ray
from ray._private.state import state
from ray.exceptions import RayError

ASK_SECONDS = 2.0  # of the 30 that the shortest notice of a cloud leaves


def draining() -> Collection[str]:
    """The nodes that Ray is told will go, on which it starts nothing any more."""
    return state.get_draining_nodes().keys()


@contextlib.contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Within the block, whether the node that this process is on is about to be taken away; asking costs nothing."""
    heard, over = threading.Event(), threading.Event()
    node = ray.get_runtime_context().get_node_id()

    def listen() -> None:
        while not over.wait(ASK_SECONDS):
            with contextlib.suppress(RayError, OSError, RuntimeError):  # the cluster's head does not answer now
                if node in draining():
                    return heard.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield heard.is_set
    finally:
        over.set()
        thread.join()

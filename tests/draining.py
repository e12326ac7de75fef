"""A notice, such as a cloud gives before it takes a machine away."""

from __future__ import annotations

import time

from ray._private.worker import global_worker
from ray.core.generated.autoscaler_pb2 import DrainNodeReason


def drain(node: str) -> None:
    """Tell the cluster that has been joined that a node of it goes in half a minute."""
    reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
    accepted, why = global_worker.gcs_client.drain_node(node, reason, "spot", int((time.time() + 30) * 1000))
    assert accepted, why

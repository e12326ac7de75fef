"""Tell the broker how far a stage is, without holding it up."""

from __future__ import annotations

import time
from collections.abc import Mapping

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from imer_ray.errors import StageStopped

PERIOD_SECONDS = 0.5
PATIENCE_SECONDS = 0.05  # a broker that is there answers within milliseconds


class Reporter:
    """The ``report`` of a stage that runs under a broker: sends at most every half second and does not wait for long.

    Raises:
        StageStopped: on construction, if nobody waits for the stage any more.
    """

    def __init__(self, broker: ActorHandle, key: str) -> None:
        self._broker = broker
        self._key = key
        self._pending: list[ray.ObjectRef[bool]] = []
        self._wanted = True
        self._sent = time.monotonic()
        if not ray.get(broker.progress.remote(key, 0, 0, {})):
            raise StageStopped("nobody waits for it any more")

    def __call__(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
        if not self._pending and time.monotonic() - self._sent >= PERIOD_SECONDS:
            self._sent = time.monotonic()
            self._pending = [self._broker.progress.remote(self._key, epoch, num_epochs, dict(metrics))]
        if self._pending:
            ready, self._pending = ray.wait(self._pending, timeout=PATIENCE_SECONDS)
            for answer in ready:
                self._wanted = _get(answer)
        return self._wanted


def _get(answer: ray.ObjectRef[bool]) -> bool:
    try:
        return bool(ray.get(answer))
    except RayError:  # the broker is being restarted; it will be told next time
        return True

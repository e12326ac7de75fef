"""What a worker process does for both executors: run its share of a stage and tell the broker how far it is."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError

from imer_ray.errors import NonFiniteError, StageStopped, UserError
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.broker import StageFailed
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import Place, StageResult, execute, keep_going
from imer_ray.stages.store import Store

PERIOD_SECONDS = 0.5
PATIENCE_SECONDS = 0.05  # a broker that is there answers within milliseconds


def work(stage: Stage, store_root: str, broker: ActorHandle, place: Place) -> StageResult:
    """Run a stage, or this worker's share of it.

    Raises:
        UserError, NonFiniteError, StageStopped, MissingArtefact, OSError: as the stage raised them.
        StageFailed: for all other errors, whose classes the broker would have to import (and torch with them).
    """
    try:
        report = Reporter(broker, stage.key) if place.rank == 0 else keep_going
        return execute(stage, Store(store_root), report, place)
    except (UserError, NonFiniteError, StageStopped, MissingArtefact):
        raise
    except OSError as error:
        raise OSError(error.errno, str(error)) from None
    except Exception as error:
        failed = StageFailed(f"stage {stage.name} failed: {type(error).__name__}: {error}")
        failed.add_note(traceback.format_exc())  # the frames stay behind in this process, so their text goes along
        raise failed from None


class Reporter:
    """The ``report`` of a stage that runs under a broker: sends at most every half second and does not wait for long.

    Raises:
        StageStopped: on construction, if nobody waits for the stage any more.
    """

    def __init__(self, broker: ActorHandle, key: str) -> None:
        self._broker = broker
        self._key = key
        self._pending: list[ObjectRef[bool]] = []
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


def _get(answer: ObjectRef[bool]) -> bool:
    try:
        return bool(ray.get(answer))
    except RayError:  # the broker is being restarted; it will be told next time
        return True

"""What a worker process does for both executors: run its share of a stage and tell the broker how far it is."""

from __future__ import annotations

import contextlib
import socket
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

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
from imer_ray.stages.timeline import Where
from imer_ray.training import rungs

PERIOD_SECONDS = 0.5
PATIENCE_SECONDS = 0.05  # a broker that is there answers within milliseconds


def work(stage: Stage, store_root: str, broker: ActorHandle, place: Place, executor: str) -> StageResult:
    """Run a stage, or this worker's share of it.

    Raises:
        UserError, NonFiniteError, StageStopped, MissingArtefact, OSError: as the stage raised them.
        StageFailed: for all other errors, whose classes the broker would have to import (and torch with them).
    """
    try:
        report = Reporter(broker, stage.key, executor) if place.rank == 0 else keep_going
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
    """The ``report`` of a stage that runs under a broker: sends at most every half second, but how it compares
    (`imer_ray.training.rungs`) at once, and does not wait for long.

    A task that blocks in Ray gives its CPU to another one meanwhile, and then too many run at once. Blocking in a
    thread does not count, so all talk with the broker is in one.

    Raises:
        StageStopped: on construction, if nobody waits for the stage any more.
    """

    def __init__(self, broker: ActorHandle, key: str, executor: str) -> None:
        self._broker = broker
        self._key = key
        node = ray.get_runtime_context().get_node_id()
        self._where = Where(host=socket.gethostname(), node=node, executor=executor)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._wanted = True
        self._sent, self._compared = time.monotonic(), 0
        self._answer = self._tell(0, 0, {})
        if not self._answer.result():
            raise StageStopped("nobody waits for it any more")

    def __call__(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
        compared = rungs.count(metrics)
        due = time.monotonic() - self._sent >= PERIOD_SECONDS or compared > self._compared
        if self._answer.done() and due:
            self._sent, self._compared = time.monotonic(), compared
            self._answer = self._tell(epoch, num_epochs, dict(metrics))
        with contextlib.suppress(TimeoutError):
            self._wanted = self._answer.result(PATIENCE_SECONDS)
        return self._wanted

    def _tell(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> Future[bool]:
        return self._thread.submit(self._ask, epoch, num_epochs, metrics)

    def _ask(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
        try:
            answer: ObjectRef[bool] = self._broker.progress.remote(self._key, epoch, num_epochs, metrics, self._where)
            return ray.get(answer)
        except RayError:  # the broker is being restarted; it will be told next time
            return True

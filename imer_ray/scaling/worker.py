"""What a worker process does for both executors: run its share of a stage and tell the broker how far it is."""

from __future__ import annotations

import contextlib
import socket
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError

from imer_ray.errors import NonFiniteError, StageStopped, StoreFailed, UserError
from imer_ray.scaling.gpus import computing_on
from imer_ray.scaling.heart import Run
from imer_ray.scaling.leaving import noticed
from imer_ray.stages import rungs
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.broker import StageFailed
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Begin
from imer_ray.stages.run import Place, StageResult, execute, keep_going, load_function
from imer_ray.stages.store import Store
from imer_ray.stages.timeline import Where

T = TypeVar("T")
PERIOD_SECONDS = 0.5
PATIENCE_SECONDS = 0.05  # a broker that is there answers within milliseconds
ANSWER_SECONDS = 120.0  # it may have to look into an object store first; a stage goes on without an answer


def work(stage: Stage, store_root: str, run: Run, place: Place, executor: str, gpus: float) -> StageResult:
    """Run a stage, or this worker's share of it.

    Args:
        gpus: that this process holds.

    Raises:
        UserError, NonFiniteError, StageStopped, MissingArtefact, StoreFailed, OSError: as the stage raised them.
        StageFailed: for all other errors, whose classes the broker would have to import (and torch with them).
    """
    try:
        with run.beating(computes=True), noticed() as leaving:
            report = Reporter(run.broker, stage.key, executor) if place.rank == 0 else keep_going
            anew = isinstance(report, Reporter) and report.anew and place.world_size == 1  # others look for themselves
            load_function(stage.function)  # with torch, if it needs it
            with computing_on(place.device, gpus):
                return execute(stage, Store(store_root), report, place, leaving, anew)
    except (UserError, NonFiniteError, StageStopped, MissingArtefact, StoreFailed):
        raise
    except OSError as error:
        raise OSError(error.errno, str(error)) from None
    except Exception as error:
        failed = StageFailed(f"stage {stage.name} failed: {type(error).__name__}: {error}")
        failed.add_note(traceback.format_exc())  # the frames stay behind in this process, so their text goes along
        raise failed from None


class Reporter:
    """The ``report`` of a stage that runs under a broker: sends at most every half second, but how it compares
    (`imer_ray.stages.rungs`) at once, and does not wait for long.

    A task that blocks in Ray gives its CPU to another one meanwhile, and then too many run at once. Blocking in a
    thread does not count, so all talk with the broker is in one.

    Attributes:
        anew: there is no checkpoint to go on from.

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
        begin = self._thread.submit(self._begin).result()
        if begin == Begin.NOT:
            raise StageStopped("nobody waits for it any more, or another search computes it")
        self.anew = begin == Begin.ANEW
        self._answer: Future[bool] | None = None  # to what was sent last

    def __call__(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
        compared = rungs.count(metrics)
        due = time.monotonic() - self._sent >= PERIOD_SECONDS or compared > self._compared
        if due and (self._answer is None or self._answer.done()):
            self._sent, self._compared = time.monotonic(), compared
            self._answer = self._tell(epoch, num_epochs, dict(metrics))
        if self._answer is not None:
            with contextlib.suppress(TimeoutError):
                self._wanted = self._answer.result(PATIENCE_SECONDS)
        return self._wanted

    def _tell(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> Future[bool]:
        return self._thread.submit(self._ask, epoch, num_epochs, metrics)

    def _begin(self) -> Begin:
        return _answer(self._broker.begin.remote(self._key, self._where), Begin.RESUMED)

    def _ask(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
        return _answer(self._broker.progress.remote(self._key, epoch, num_epochs, metrics, self._where), True)


def _answer(answer: ObjectRef[T], otherwise: T) -> T:
    try:
        return ray.get(answer, timeout=ANSWER_SECONDS)
    except RayError:  # the broker is being restarted, or hangs; it will be told next time
        return otherwise

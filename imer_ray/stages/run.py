"""Compute one stage, or all stages of a graph one after another, in this process."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.context import Context, StageFunction
from imer_ray.stages.graph import Stage
from imer_ray.stages.manifest import Manifest
from imer_ray.stages.node_load import announced
from imer_ray.stages.store import Store

MAX_FETCHED = 8  # inputs at a time

Report = Callable[[int, int, Mapping[str, float]], bool]


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What asking for a stage gave: its metrics, and the seconds it took now or, if reused, had taken before."""

    key: str
    name: str
    seconds: float
    reused: bool
    metrics: Mapping[str, float]
    num_workers: int = 1  # of the group that computed it; 1: a task of its own
    hardware: str = ""  # that computed it, in words; empty where that is not known


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage runs: this process' share of the work, its device and its CPU threads (None: torch's default)."""

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    num_threads: int | None = None


def keep_going(epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
    """The report of a stage that nobody watches."""
    return True


def execute(
    stage: Stage,
    store: Store,
    report: Report = keep_going,
    place: Place | None = None,
    leaving: Callable[[], bool] = lambda: False,
    anew: bool = False,
) -> StageResult:
    """Run a stage's function here; rank 0 writes its artefact. Its inputs must be in the store.

    Args:
        report, leaving: as `imer_ray.stages.context.Context` has them.
        anew: it is known that there is no checkpoint.

    Raises:
        MissingArtefact: an input is not there (any more).
        UserError, StageStopped, NonFiniteError, ...: whatever the function raises; its checkpoint is kept.
    """
    place = place or Place()
    started = time.perf_counter()
    function = load_function(stage.function)
    if place.num_threads is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(place.num_threads)

    def input_of(source: Stage) -> Path:
        return store.open(source.key, found=True).folder

    with announced(), store.writing(stage.key) as folder:
        with ThreadPoolExecutor(MAX_FETCHED) as pool:
            scratch = folder / "checkpoint" if place.rank else None
            checkpoint = pool.submit(store.workspaces.folder, stage.key, scratch, anew)
            inputs = dict(zip(stage.inputs, pool.map(input_of, stage.inputs.values()), strict=True))
        context = Context(
            folder=folder,
            inputs=inputs,
            checkpoint=checkpoint.result(),
            written=functools.partial(store.workspaces.send, stage.key),
            report=report,
            leaving=leaving,
            rank=place.rank,
            world_size=place.world_size,
            device=place.device,
            rungs=stage.rungs,
        )
        try:
            metrics = dict(function(stage.settings, context))
        except BaseException:
            with contextlib.suppress(OSError):
                store.workspaces.flush(stage.key)
            raise
        finally:
            if "torch._dynamo" in sys.modules:  # it compiles a function for eight models, and then no more
                sys.modules["torch"].compiler.reset()
        seconds = time.perf_counter() - started
        with_gpu, computed_on = place.device != "cpu", ""
        if place.rank == 0:
            artefact = store.commit(stage, folder, metrics, seconds, place.world_size, with_gpu)
            metrics, computed_on = dict(artefact.metrics), artefact.manifest.hardware
    return StageResult(
        key=stage.key,
        name=stage.name,
        seconds=seconds,
        reused=False,
        metrics=metrics,
        num_workers=place.world_size,
        hardware=computed_on,
    )


def run_graph(
    stage: Stage,
    store: Store,
    report: Callable[[Stage, int, int, Mapping[str, float]], bool] | None = None,
    place: Place | None = None,
) -> list[StageResult]:
    """Compute what is missing for ``stage``, inputs before users, and ``stage`` last; one result per stage."""
    store.prepare()
    computed: dict[str, StageResult] = {}

    def result(needed: Stage) -> StageResult:
        manifest = store.find(needed.key)
        if manifest is None:
            own_report = keep_going if report is None else functools.partial(report, needed)
            computed[needed.key] = execute(needed, store, own_report, place)
        elif needed.key not in computed:
            return found(needed, manifest)
        return computed[needed.key]

    order = list(stage.in_order())
    for _ in order:
        # A remote input may be found to be damaged when it is fetched; it is out of the way then and built next time.
        with contextlib.suppress(MissingArtefact):
            return [result(needed) for needed in order]
    return [result(needed) for needed in order]


def found(stage: Stage, manifest: Manifest) -> StageResult:
    """The result of a stage that was found in the store."""
    return StageResult(
        key=stage.key,
        name=stage.name,
        seconds=manifest.seconds,
        reused=True,
        metrics=dict(manifest.metrics),
        num_workers=manifest.num_workers,
        hardware=manifest.hardware,
    )


def load_function(path: str) -> StageFunction:
    """The function at a dotted path ``module:function``."""
    module, _, name = path.partition(":")
    function: StageFunction = getattr(importlib.import_module(module), name)
    return function

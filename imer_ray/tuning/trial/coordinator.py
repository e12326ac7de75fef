"""A trial: a light coordinator that asks for the stages of its points and hands their results to the driver.

It holds one trial slot, no CPU, and imports no torch. Nothing that goes wrong with a stage is an error of Tune's: it is
part of the outcome, so that the driver tells failed trials from a broken study.
"""

from __future__ import annotations

import functools
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import Any

from imer_ray.config import plugins
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.config.tree import replace
from imer_ray.errors import UserError
from imer_ray.stages.broker import StageFailed
from imer_ray.stages.client import Client
from imer_ray.stages.graph import Stage, most_needed_first
from imer_ray.stages.job import Status
from imer_ray.stages.run import StageResult
from imer_ray.systems import graph as system_graph
from imer_ray.tuning.objectives.objectives import NotMeasured, minimised
from imer_ray.tuning.trial.local_search import Difference, Grid, Scores, free_lines, improved, local_search
from imer_ray.tuning.trial.status import COST, TrialStatus, compared

SPLIT = "valid"  # a search never sees the test split
OUTCOME = "outcome"  # key of the last report: JSON of what `run_points` returns
ROWS, BROKEN = "rows", "broken"  # keys of an outcome
PERIOD_SECONDS = 1.0

Report = Callable[[Mapping[str, Any]], None]
StageOutcome = StageResult | str | None
"""Of a stage: its result, what went wrong, or None if it was given up because something else went wrong."""


class _Abandoned(Exception):
    """The trial wants this stage no more."""


def waiter_name(study: str, trial: int) -> str:
    """Under which name a trial asks for stages."""
    return f"{study}-{trial}"


def run_points(
    tree: Mapping[str, Any],
    grid: Grid,
    client: Client,
    waiter: str,
    report: Report,
    systems: str = "imer_ray.systems",
    rungs: tuple[int, ...] = (),
    machine: str | None = None,
) -> dict[str, Any]:
    """Compute the trial's own point, then those that a walk over the grid asks for, wave by wave.

    All stages of a wave are asked for at once, what its points share once, each computed as soon as what it needs is
    there. Without the own point's scores there is no walk.

    Returns:
        ``{"rows": [...]}``, one row per point as in `imer_ray.results.schema` (no study, trial, status and objectives),
        with an error where a stage failed; or ``{"broken": message}`` if the user must put something right before any
        trial can run.
    """
    started, paid, rows = datetime.now(UTC).isoformat(), set[str](), list[dict[str, Any]]()
    results: dict[str, StageOutcome] = {}
    config = typed(tree, ExperimentConfig)

    def graph_of(point: Mapping[str, Any]) -> Stage:
        return system_graph(typed(point, ExperimentConfig), SPLIT, systems, machine).with_rungs(rungs)

    def score(points: Sequence[Mapping[str, Any]]) -> list[Scores | None]:
        graphs = [graph_of(point) for point in points]
        missing = {s.key: s for graph in graphs for s in graph.in_order() if s.key not in results}
        results.update(_compute(missing, graphs, client, waiter, report))
        times = {"started": started, "finished": datetime.now(UTC).isoformat(), "host": socket.gethostname()}
        wave = []
        for point, graph in zip(points, graphs, strict=True):
            timed_on = machine and (_measured_on(graph, results) or machine)
            wave.append({**_row(point, graph, results, paid), "machine": timed_on, **times})
            paid.update(stage.key for stage in graph.in_order())
        rows.extend(wave)
        return [_scores(row, grid) for row in wave]

    def ask(points: Sequence[Difference]) -> list[Scores | None]:
        return score([replace(tree, difference, grid.components) for difference in points])

    try:
        (own,) = score([tree])
        if own is not None and config.evaluate.max_points > 1:
            least, least_speed = config.evaluate.tolerance, config.speed.tolerance
            goes_on = functools.partial(
                improved, objectives=grid.objectives, tolerance=least, speed_tolerance=least_speed
            )
            local_search(free_lines(tree, grid, graph_of), own, ask, config.evaluate.max_points, goes_on)
    except UserError as error:
        return {BROKEN: str(error)}
    return {ROWS: rows}


def _scores(row: Mapping[str, Any], grid: Grid) -> Scores | None:
    try:
        return minimised(row, grid.objectives) if row["error"] is None else None
    except NotMeasured:  # the driver says so in the row
        return None


def _compute(
    stages: Mapping[str, Stage], finals: Sequence[Stage], client: Client, waiter: str, report: Report
) -> dict[str, StageOutcome]:
    """Key -> what came of it. Raises UserError if a stage did."""
    abandoned, standing = threading.Event(), TrialStatus(stages.values())

    def ask(stage: Stage) -> StageResult:
        def on_progress(status: Status) -> None:
            if abandoned.is_set():
                raise _Abandoned
            standing.saw(stage, status)
            if abandoned.is_set():
                raise _Abandoned

        result = client.compute(stage, waiter, on_progress)
        standing.ended(stage, result)
        return result

    needed_by_all = set.intersection(*({stage.key for stage in final.in_order()} for final in finals))
    results: dict[str, StageOutcome] = {}
    failed: list[Stage] = []  # stages without which no point can be had
    with ThreadPoolExecutor(max_workers=len(stages)) as pool:
        futures = {pool.submit(ask, stage): stage for stage in most_needed_first(stages.values())}
        try:
            for future in _as_finished(futures, standing, report, abandoned):
                stage = futures[future]
                try:
                    results[stage.key] = future.result()
                except _Abandoned:
                    results[stage.key] = None
                except UserError:
                    raise
                except Exception as error:
                    own = isinstance(error, StageFailed)  # whose message is complete
                    said = str(error) if own else f"stage {stage.name} failed: {type(error).__name__}: {error}"
                    results[stage.key] = said
                    if stage.key in needed_by_all:
                        failed.append(stage)
                # A stage whose input failed fails with it, and may be heard of first: the cause is waited for.
                running = stages.keys() - results.keys()
                if any(running.isdisjoint(source.key for source in one.inputs.values()) for one in failed):
                    abandoned.set()
        finally:
            abandoned.set()
            client.leave(waiter)
    return results


def _as_finished(
    futures: Mapping[Future[StageResult], Stage], standing: TrialStatus, report: Report, abandoned: threading.Event
) -> Any:
    """The futures as they finish; meanwhile tells how the trial stands, at rungs at once, else once a period at most.

    Tune ends a trial by never returning from a report, but with SystemExit.
    """
    pending, shown = set(futures), standing.shown
    next_report = time.monotonic() + PERIOD_SECONDS
    while pending:
        news: set[Future[Any]] = {*pending, standing.news}
        done, _ = wait(news, timeout=PERIOD_SECONDS, return_when="FIRST_COMPLETED")
        finished = done & pending
        pending -= finished
        yield from finished
        due = time.monotonic() >= next_report and standing.shown != shown
        if pending and (due or standing.news.done()):
            shown = standing.shown
            next_report = time.monotonic() + PERIOD_SECONDS
            with standing.telling() as told:
                try:
                    report(told)
                except BaseException:
                    abandoned.set()
                    raise


def _measured_on(graph: Stage, results: Mapping[str, StageOutcome]) -> str:
    """The hardware that a point's times were measured on, whichever it might have been; empty if that is not known."""
    cost = graph.inputs.get(COST)
    result = None if cost is None else results[cost.key]
    return result.hardware if isinstance(result, StageResult) else ""


def _row(
    tree: Mapping[str, Any],
    graph: Stage,
    results: Mapping[str, StageOutcome],
    shared: set[str],
) -> dict[str, Any]:
    stages = list(graph.in_order())
    found = [(stage, results[stage.key]) for stage in stages]
    done = [(stage, result) for stage, result in found if isinstance(result, StageResult)]
    # Inputs come before what stands on them, so that the first is the cause where one fails because of another.
    errors = [result for _, result in found if isinstance(result, str)]
    errors += [f"stage {stage.name} was not computed" for stage, result in found if result is None]
    computed = sum(r.seconds for _, r in done if not r.reused and r.key not in shared)
    final = results[graph.key]
    rungs = compared((stage, result.metrics if isinstance(result, StageResult) else {}) for stage, result in found)
    return {
        **(final.metrics if isinstance(final, StageResult) else {}),
        "seed": tree["seed"],
        "epochs": int(sum(r.metrics.get("epochs", 0) for _, r in done)),
        "config": json.dumps({**tree, "plugins": plugins.needed_by(tree)}),
        "stages": json.dumps({stage.name: stage.key for stage in stages}),
        "executors": json.dumps({s.name: "ray_train" if r.num_workers > 1 else "inline" for s, r in done}),
        "rungs": json.dumps(rungs) if rungs else None,
        "seconds_computed": computed,
        "seconds_reused": sum(r.seconds for _, r in done) - computed,
        "error": errors[0] if errors else None,
    }

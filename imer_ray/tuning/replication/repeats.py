"""Run the points of the front with further seeds, until it is settled who belongs there or the budget ends.

A search reports the best of many noisy results, so that part of a front is luck. A repeat is a point's whole
configuration with another seed: all that depends on the seed is computed anew, once for all points that share it. It
is a job for the broker like a trial, and not told to the sampler: that proposes configurations, not seeds.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from imer_ray.config.tree import replace
from imer_ray.errors import UserError
from imer_ray.stages.client import Client
from imer_ray.tuning.monitor.display import FIRST_SECONDS, GROWTH
from imer_ray.tuning.monitor.timeline import Timeline
from imer_ray.tuning.replication.allocation import Sample, next_to_run
from imer_ray.tuning.replication.until import Until
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.results_file import ResultsFile, complete_row, write
from imer_ray.tuning.trial.coordinator import BROKEN, ROWS, run_points
from imer_ray.tuning.trial.local_search import Grid

PERIOD_SECONDS = 1.0
Name = tuple[int, int]  # trial and point


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """A point to be run with its own seed plus ``number``."""

    trial: int
    point: int
    number: int
    config: Mapping[str, Any]


def next_repeat(record: Record, most: int, running: Counter[Name]) -> Repeat | None:
    """What to run next of the points of the front, which get up to ``most`` further seeds each; None if nothing.

    Args:
        running: how many repeats of each point are under way.
    """
    own = {
        (row["trial"], row["point"]): row
        for row in record.points
        if row["status"] == "complete" and row.get("feasible") is not False
    }
    columns = [objective.column for objective in record.objectives]
    values = {name: [[row[column] for column in columns]] for name, row in own.items()}
    tried = Counter(running)
    for row in record.repeats:
        name = row["trial"], row["point"]
        tried[name] += 1
        if row["status"] == "complete" and name in values:
            values[name].append([row[column] for column in columns])
    names = list(own)
    samples = [
        Sample(values=np.array(values[name]), num_running=running[name], num_left=most - tried[name]) for name in names
    ]
    chosen = next_to_run(samples)
    if chosen is None:
        return None
    trial, point = names[chosen]
    number = tried[names[chosen]] + 1
    config = json.loads(own[names[chosen]]["config"])
    return Repeat(trial=trial, point=point, number=number, config={**config, "seed": config["seed"] + number})


def wanted(plan: Plan, record: Record) -> bool:
    """Whether a study that has its trials lacks repeats."""
    most = plan.options.study.repeats
    return most > 0 and next_repeat(record, most, Counter()) is not None


def repeat_front(plan: Plan, record: Record, client: Client, is_over: Callable[[], bool] = lambda: False) -> int:
    """Run repeats, as many at a time as the study has slots, until none is wanted or ``is_over``; returns how many.

    Afterwards the results are written, however it ended.

    Raises:
        UserError: something must be put right before any stage can run.
    """
    most, slots = plan.options.study.repeats, plan.options.study.slots
    if is_over() or not wanted(plan, record):
        return 0
    before = len(record.repeats)
    results = ResultsFile(plan, record)
    timeline = Timeline(plan.folder, plan.info.study)
    ended, started = threading.Event(), time.monotonic()
    next_line = started + FIRST_SECONDS
    running: dict[Future[dict[str, Any]], Repeat] = {}
    with ThreadPoolExecutor(max_workers=slots) as pool:
        try:
            while not is_over():
                while len(running) < slots:
                    under_way = Counter((repeat.trial, repeat.point) for repeat in running.values())
                    repeat = next_repeat(record, most, under_way)
                    if repeat is None:
                        break
                    running[pool.submit(_compute, repeat, plan, client, ended)] = repeat
                if not running:
                    break
                done, _ = wait(running, timeout=PERIOD_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    _keep(plan, record, running.pop(future), future.result())
                results.update()
                timeline.follow(client)
                timeline.write()
                if (now := time.monotonic()) >= next_line:
                    next_line = now + max(FIRST_SECONDS, GROWTH * (now - started))
                    print(
                        f"further seeds: {len(record.repeats) - before} runs done, {len(running)} running", flush=True
                    )
        finally:
            ended.set()
            timeline.write(last=True)
            write(plan, record)
    return len(record.repeats) - before


def _compute(repeat: Repeat, plan: Plan, client: Client, ended: threading.Event) -> dict[str, Any]:
    """What `run_points` returns, of the point alone: it has been walked from already."""
    alone = replace(repeat.config, {"evaluate.max_points": 1}, {})
    grid = Grid(axes={}, components=plan.configurations.components, objectives=plan.objectives)
    waiter = f"{plan.info.study}-{repeat.trial}.{repeat.point}-{repeat.number}"
    until = Until(client, ended)
    return run_points(alone, grid, until, waiter, lambda told: None, plan.systems, machine=plan.machine)


def _keep(plan: Plan, record: Record, repeat: Repeat, outcome: Mapping[str, Any]) -> None:
    if BROKEN in outcome:
        raise UserError(outcome[BROKEN])
    named = {"config": json.dumps(repeat.config), "repeat": repeat.number, "derived_from": repeat.point}
    record.tell_repeat(complete_row(plan.info.study, repeat.trial, repeat.point, {**outcome[ROWS][0], **named}))

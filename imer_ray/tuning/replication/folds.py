"""Compare a study's picks on further validation clips: each is trained and scored once more on every fold.

A search chooses among many points on the same few clips, whose luck is most of what separates two picks. The folds'
validation sets are disjoint (`imer_ray.data.validation_folds`), and nothing was chosen on them. What is computed stays
among the stages, where `imer_ray.tuning.study.cross_validation` reads it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from imer_ray.errors import UserError, printable
from imer_ray.results.study import load
from imer_ray.stages.client import Client
from imer_ray.stages.graph import Stage
from imer_ray.stages.store import Store
from imer_ray.tuning.monitor.display import FIRST_SECONDS, GROWTH
from imer_ray.tuning.replication.until import Until
from imer_ray.tuning.study.cross_validation import evaluations
from imer_ray.tuning.study.plan import Plan

WAITER = "fold"
PERIOD_SECONDS = 1.0


def missing(plan: Plan) -> list[Stage]:
    """The evaluations, fold by fold, that a comparison of the picks of a study's results still lacks."""
    study = load(plan.folder)
    found = evaluations(plan, study)
    if found and (known := study.uncertainty) is not None and known.num_folds:
        names = {name for pair in (*known.pairs, *known.rivals) for name in (pair.first, pair.second)}
        found = {} if found.keys() <= names and known.num_folds >= max(map(len, found.values())) else found
    by_fold = sorted(((k, stage) for stages in found.values() for k, stage in stages.items()), key=lambda one: one[0])
    wanted, store = {stage.key: stage for _, stage in by_fold}, Store(plan.stages)
    return [stage for key, stage in wanted.items() if store.find(key) is None]


def compare_picks(plan: Plan, client: Client, is_over: Callable[[], bool] = lambda: False) -> int:
    """Evaluate the picks and the baselines on further folds, until all are done or ``is_over``; returns how many were
    done. One that fails is left out, and said.

    Twice as many are asked for at a time as the study has slots: each is a chain of stages, and of a chain that begins
    when the others are through one process would do all, the others nothing.

    Raises:
        UserError: something must be put right before any stage can run.
    """
    stages = [] if is_over() else missing(plan)
    if not stages:
        return 0
    print(f"comparing the picks on further validation clips: {len(stages)} evaluations", flush=True)
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=2 * plan.options.study.slots) as pool:
        running = {pool.submit(_evaluate, stage, Until(client, ended)) for stage in stages}
        try:
            return _followed(running, is_over)
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)
            client.leave(WAITER)


def _followed(running: set[Future[None]], is_over: Callable[[], bool]) -> int:
    num_done, count, started = 0, len(running), time.monotonic()
    next_line = started + FIRST_SECONDS
    while running and not is_over():
        done, running = wait(running, timeout=PERIOD_SECONDS, return_when=FIRST_COMPLETED)
        num_done += sum(map(_is_done, done))
        if running and (now := time.monotonic()) >= next_line:
            next_line = now + max(FIRST_SECONDS, GROWTH * (now - started))
            print(f"comparing the picks: {num_done} of {count} evaluations done", flush=True)
    return num_done


def _is_done(future: Future[None]) -> bool:
    try:
        future.result()
    except UserError:
        raise
    except Exception as error:  # whatever it is, the study is worth more than the comparison
        print(printable(f"an evaluation on further validation clips failed and is left out: {error}"))
        return False
    return True


def _evaluate(final: Stage, client: Client) -> None:
    for stage in final.in_order():  # each asked for in the background, so that none starts a worker group
        client.compute(stage, WAITER, background=True)

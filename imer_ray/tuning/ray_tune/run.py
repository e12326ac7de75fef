"""Run a study's missing trials with Ray Tune."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

from ray import tune

from imer_ray.config import plugins
from imer_ray.errors import UserError
from imer_ray.scaling.cluster import trial_resources
from imer_ray.stages.client import Client
from imer_ray.tuning.ray_tune.callback import StudyCallback
from imer_ray.tuning.ray_tune.scheduler import goes_on, study_scheduler
from imer_ray.tuning.ray_tune.searcher import StudySearcher
from imer_ray.tuning.ray_tune.trainable import coordinate
from imer_ray.tuning.study.cost_first.costs import Costs, chooser
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.results_file import complete_row, write
from imer_ray.tuning.trial.coordinator import waiter_name
from imer_ray.tuning.trial.local_search import Grid, axes

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # results are ours to write
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ctrl-C is an ordinary KeyboardInterrupt
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # the journal is what a study is continued from
    "RAY_AIR_NEW_OUTPUT": "0",  # the old output says nothing at verbose=0
}
MAX_FAILURES = 2  # a coordinator that dies with its node starts again: what was computed for it is in the store


def run(plan: Plan, record: Record, client: Client, is_over: Callable[[], bool] = lambda: False) -> bool:
    """Run what a study lacks of its trials, and those stopped early that go on, until ``is_over``; afterwards
    its results are written, however it ended.

    Returns whether every configuration of the space is known, so that there are no more trials to be had.

    Raises:
        UserError: something must be put right before another trial can run.
    """
    is_missing = len(record.finished) < plan.info.num_trials or goes_on(plan, record)
    try:
        if is_missing and not is_over():
            return _tune(plan, record, client, is_over)
        return False
    finally:
        write(plan, record)


def _tune(plan: Plan, record: Record, client: Client, is_over: Callable[[], bool]) -> bool:
    study, slots = plan.options.study, plan.options.study.slots
    os.environ.update(ENVIRONMENT, TUNE_MAX_PENDING_TRIALS_PG=str(slots))
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="ray")
    scheduler = study_scheduler(plan, record, lambda trial: client.leave(waiter_name(study.name, trial)))
    trainable = tune.with_parameters(
        coordinate,
        base=plan.base,
        grid=Grid(
            axes=axes(plan.options.evaluate.grid, plan.space),
            components=plan.configurations.components,
            objectives=plan.objectives,
        ),
        client=client,
        study=study.name,
        systems=plan.systems,
        rungs=scheduler.rungs,
        loaded=plugins.names(),
        machine=plan.machine,
    )
    costs = Costs(plan, client)
    record.cost_first = chooser(plan, costs)
    row = functools.partial(complete_row, study.name)
    searcher = StudySearcher(record, slots, row, scheduler.stopped, plan.info.num_trials, scheduler.resumed)
    scratch = plan.folder.absolute() / ".tune"  # Tune wants a folder; nothing in it outlives the run
    shutil.rmtree(scratch, ignore_errors=True)
    watch = StudyCallback(plan, record, client)
    tuner = tune.Tuner(
        tune.with_resources(trainable, trial_resources()),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher says when: a trial that is resumed is one more to Tune
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[watch],
            stop=_StopAll(lambda: searcher.broken is not None or is_over()),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    try:
        tuner.fit()
    finally:
        costs.close()
        for trial in record.running:  # stopped with the search: the next driver goes on with them
            client.leave(waiter_name(study.name, trial))
        watch.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if searcher.broken is not None:
        kept = f"{len(record.finished)} trials are kept in {plan.folder}; run the same command again to continue"
        raise UserError(f"{searcher.broken}\n{kept}")
    return searcher.exhausted


class _StopAll(tune.Stopper):
    """Ends the run when the budget is spent, or no trial can succeed until the user has done something."""

    def __init__(self, is_time: Callable[[], bool]) -> None:
        self._is_time = is_time

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._is_time()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles all it is given at the start, for a restore that we never ask for."""
        return {}

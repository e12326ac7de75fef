"""Compute that our search needs for what plain Ray Tune + OptunaSearch finds: ``python benchmarks/search.py``.

Plain: the real `OptunaSearch` (its default sampler, this space and these objectives) proposes 48 configurations, one
after another, and each trial computes all its stages itself. Its hypervolume after the last is the target, the compute
seconds of its trials the price. Ours: record, points of the space that are proposed first, searcher, walk over the grid
of free points and scheduler as a search has them by default, until the target is reached; what it computes is paid
once. ``compute_ratio_to_equal_hypervolume`` is plain's seconds over ours, the median over ``seeds`` of the two searches
(0 where ours does not get there in 48 trials). ``without_*`` are the same ratios with one thing switched off:
``sharing`` are the same trials of which each pays for all its stages, ``points`` a search that is told no more than
plain's. ``with_*`` has one thing more: the costs of four candidates first (``study.cost_first``), or trials that are
paused early (``study.scheduler=asha``).

Both sides search in turn, one trial at a time, with the same training seed, data and epochs, and speed is counted in
FLOPs, so that equal configurations have equal values. That makes it affordable: a stage is computed only once, in this
process, on one thread, and kept under ``folder`` with its CPU seconds, which then are charged to whoever would have
computed it. Early stopping is replayed: a training that is charged reports at its rungs again, and one that is stopped
is paid as far as it came; which of those that run side by side is judged first is the threads' own affair, so with asha
two runs may differ. Running the command again continues.

Options: ``seeds=1,2,3,4,5``, ``trials=48``, ``folder=runs/benchmark_search``; other words are settings of the search
(``study.scheduler=asha``).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import logging
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.search.optuna import OptunaSearch
from replay import Replay, Stages, Stopped

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.tree import replace
from imer_ray.results.hypervolume import hypervolume
from imer_ray.tuning.objectives.objectives import minimised
from imer_ray.tuning.ray_tune.scheduler import study_scheduler
from imer_ray.tuning.ray_tune.searcher import StudySearcher
from imer_ray.tuning.study.cost_first.costs import chooser, cost_stage, with_evaluations
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan
from imer_ray.tuning.trial.coordinator import OUTCOME, run_points, waiter_name
from imer_ray.tuning.trial.local_search import Grid, axes
from imer_ray.tuning.trial.status import STANDING

SETTINGS = {
    "data.num_train": "512",
    "data.num_valid": "229",
    "data.num_test": "32",
    "study.speed": "flops",
    "evaluate.max_points": "2",  # at this size a point takes a tenth of what a trial takes
    "speed.max_seconds": "0",  # nothing is searched by time, so it is read once
    "scaling.num_workers": "0",
}
OTHER = {
    "without_free_points": {"evaluate.max_points": "1"},
    "without_points": {},
    "with_cost_first": {"study.cost_first": "4"},
    "with_early_stopping": {"study.scheduler": "asha"},
}
VARIANTS = ("without_sharing", *OTHER)


@dataclass(frozen=True)
class Trial:
    """What `StudyScheduler` reads of Tune's trials."""

    trial_id: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """After one of our trials: the hypervolume, and the seconds paid so far with and without sharing."""

    hypervolume: float
    seconds: float
    unshared: float


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    seeds = [int(seed) for seed in words.pop("seeds", "1,2,3,4,5").split(",")]
    num_trials, folder = int(words.pop("trials", "48")), Path(words.pop("folder", "runs/benchmark_search"))
    logging.disable(logging.INFO)  # Optuna's, of each trial
    settings = {**SETTINGS, "study.root": str(folder / "studies"), "study.num_trials": str(num_trials), **words}
    planned = functools.partial(_plan, settings)
    scheduler = importlib.import_module("imer_ray.tuning.schedulers.asha").build(planned("rungs", 0).options.study)
    stages = Stages(folder, scheduler.rungs)
    print(f"{'seed':>4}{'target':>8}{'plain s':>10}   ours: trials, s, ratio; the same {', '.join(VARIANTS)}")
    ratios: dict[str, list[float]] = {name: [] for name in ("all", *VARIANTS)}
    for seed in seeds:
        target, price = _plain(planned(f"plain-{seed}", seed), stages, seed, num_trials)
        ours = _ours(planned(f"ours-{seed}", seed), stages, target, num_trials)
        cells = [_cell(ratios["all"], ours, target, price, [step.seconds for step in ours])]
        cells.append(_cell(ratios[VARIANTS[0]], ours, target, price, [step.unshared for step in ours]))
        for name, changes in OTHER.items():
            other = planned(f"{name}-{seed}", seed, changes)
            if name == "without_points":
                other = dataclasses.replace(other, space=dataclasses.replace(other.space, points=()))
            steps = _ours(other, stages, target, num_trials)
            cells.append(_cell(ratios[name], steps, target, price, [step.seconds for step in steps]))
        print(f"{seed:4}{target:8.3f}{price:10.1f}   {' | '.join(cells)}", flush=True)
    median = {name: round(statistics.median(each), 2) for name, each in ratios.items()}
    figures = {"compute_ratio_to_equal_hypervolume": median.pop("all")}
    print(json.dumps({**figures, **median}))


def _cell(ratios: list[float], steps: Sequence[Step], target: float, price: float, seconds: Sequence[float]) -> str:
    reached = steps[-1].hypervolume >= target
    ratios.append(price / seconds[-1] if reached else 0.0)
    return f"{len(steps):3} {seconds[-1]:7.1f} {ratios[-1]:6.2f}" + ("" if reached else " (not reached)")


def _plan(settings: Mapping[str, str], name: str, seed: int, changes: Mapping[str, str] | None = None) -> Plan:
    words = {**settings, "study.name": name, "study.seed": str(seed), **(changes or {})}
    return plan(compose(SearchConfig, "search", [f"{key}={value}" for key, value in words.items()]))


def _plain(searched: Plan, stages: Stages, seed: int, num_trials: int) -> tuple[float, float]:
    """(hypervolume, compute seconds) of plain Ray Tune's searcher after so many trials."""
    names = [objective.name for objective in searched.objectives]

    def space(trial: Any) -> None:
        searched.space.suggest(trial)

    searcher = OptunaSearch(space=space, metric=names, mode=["min"] * len(names), seed=seed)
    points, seconds = [], 0.0
    for number in range(num_trials):
        values = searcher.suggest(str(number))
        final = searched.final_stage(searched.configurations.build(values))
        found = minimised(stages.get(final).metrics, searched.objectives)
        seconds += sum(stages.seconds[stage.key] for stage in final.in_order())
        searcher.on_trial_complete(str(number), result=dict(zip(names, found, strict=True)))
        points.append(found)
    return hypervolume(points, searched.info.reference), seconds


def _ours(searched: Plan, stages: Stages, target: float, num_trials: int) -> list[Step]:
    """Our search until the target is reached; a step per trial, and per trial that goes on where it was paused."""
    shutil.rmtree(searched.folder, ignore_errors=True)
    record = open_record(searched)
    replay = Replay(stages)

    def measure(configurations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float] | None]:
        found = [cost_stage(searched.final_stage(config)) for config in configurations]
        replay.paid |= {stage.key: 1.0 for stage in found if stage is not None}
        pairs = zip(found, configurations, strict=True)
        return [None if s is None else with_evaluations(stages.get(s).metrics, c) for s, c in pairs]

    record.cost_first = chooser(searched, measure)
    scheduler = study_scheduler(searched, record, lambda trial: None)
    complete = functools.partial(complete_row, searched.info.study)
    searcher = StudySearcher(record, 1, complete, scheduler.stopped, num_trials, scheduler.resumed)
    grid = Grid(
        axes=axes(searched.options.evaluate.grid, searched.space),
        components=searched.configurations.components,
        objectives=searched.objectives,
    )
    steps: list[Step] = []
    unshared = 0.0
    while not (steps and steps[-1].hypervolume >= target):
        proposal = searcher.suggest(str(len(steps)))
        if not isinstance(proposal, dict):  # all trials have ended
            break
        trial = Trial(str(len(steps)), proposal)
        searcher.on_trial_complete(trial.trial_id, _run(trial, searched, replay, scheduler, grid))
        unshared += replay.trial_seconds
        points = [[row[o.column] for o in searched.objectives] for row in record.rows if row["status"] == "complete"]
        seconds = sum(share * stages.seconds[key] for key, share in replay.paid.items())
        steps.append(Step(hypervolume(points, searched.info.reference) if points else 0.0, seconds, unshared))
    return steps


def _run(trial: Trial, searched: Plan, replay: Replay, scheduler: Any, grid: Grid) -> dict[str, Any]:
    """The trial's last report."""
    tree = replace(searched.base, trial.config["values"], grid.components)
    replay.begin(searched.final_stage(tree))
    last: dict[str, Any] = {}

    def report(told: Mapping[str, Any]) -> None:
        last.update(told)
        decision = scheduler.on_trial_result(None, trial, dict(told))
        replay.judged(json.loads(told[STANDING]))
        if decision == scheduler.STOP:
            raise Stopped

    waiter = waiter_name(searched.info.study, trial.config["trial"])
    try:
        outcome = run_points(tree, grid, replay, waiter, report, searched.systems, scheduler.rungs)
    except Stopped:
        return last
    return {OUTCOME: json.dumps(outcome)}


if __name__ == "__main__":
    main()

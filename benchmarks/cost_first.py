"""How many fewer trainings a search needs that knows costs first: ``python benchmarks/cost_first.py [seeds=200-209]``.

Nothing is trained: the laws of `conditional.py`. The cost of a configuration is known when it is asked for, its error
only when it is tried.

Per law, the same searcher with and without `imer_ray.tuning.study.cost_first`: the share of the true front's
hypervolume after ``trials``, and how many times fewer trials the one with it needs for what the one without has after
its last (0: it does not get there), the median over seeds. ``num_measured=1`` takes the first by the same models,
without looking at its cost: what the models alone are worth. Options: ``trials=48``, ``searcher=tpe``,
``num_measured=1,4``, ``problems=samplers,priors,backbones``.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from conditional import LAWS, conditional
from problems import REFERENCE, Problem

from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.study.cost_first.chooser import CostFirst
from imer_ray.tuning.study.record import Record

NUM_STARTUP = 8
OBJECTIVES = tuple(
    replace(each, reference=worst) for each, worst in zip(objectives("MAE", "flops"), REFERENCE, strict=True)
)


def name(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def search(problem: Problem, searcher: str, seed: int, num_trials: int, num_measured: int) -> Sequence[float]:
    """The share of the true front's hypervolume after each trial; ``num_measured`` 0: the searcher alone."""
    module = importlib.import_module(f"imer_ray.tuning.searchers.{searcher}")
    record = Record(
        optuna.create_study(directions=["minimize", "minimize"]),
        sync=lambda: None,
        space=problem.space,
        objectives=OBJECTIVES,
        configure=dict,
        identify=name,
        build_sampler=functools.partial(module.build, population=NUM_STARTUP),
        seed=seed,
    )

    def measure(configurations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float] | None]:
        return [{"flops_per_clip": 10 ** problem.measure(values)[1]} for values in configurations]

    if num_measured:
        record.cost_first = CostFirst(problem.space, OBJECTIVES, (), measure, num_measured, NUM_STARTUP)
    found = []
    for _ in range(num_trials):
        proposal = record.ask()
        assert proposal is not None, "these spaces do not end"
        found.append(problem.measure(proposal.values))
        metrics = {"valid.MAE": found[-1][0], "flops_per_clip": 10 ** found[-1][1]}
        row = {"trial": proposal.trial, "point": 0, "config": json.dumps(dict(proposal.config)), "error": None}
        record.tell(proposal.trial, [{**row, **metrics}])
    return (1 - problem.regret(found)).tolist()


def _first(volumes: Sequence[float], target: float) -> float:
    return next((number for number, volume in enumerate(volumes, start=1) if volume >= target), math.inf)


def main() -> None:
    options = {"seeds": "200-209", "trials": "48", "searcher": "tpe", "num_measured": "1,4"}
    options |= {"problems": ",".join(LAWS)} | dict(word.split("=", 1) for word in sys.argv[1:])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first, _, last = options["seeds"].partition("-")
    seeds, num_trials = range(int(first), int(last or first) + 1), int(options["trials"])
    figures: dict[str, float] = {}
    print(f"{'problem':12}{'measured':>10}{'hypervolume':>14}{'fewer trials':>14}   by seed")
    for problem in options["problems"].split(","):
        run = functools.partial(search, conditional(problem), options["searcher"])
        alone = [run(seed, num_trials, 0) for seed in seeds]
        print(f"{problem:12}{0:10}{statistics.mean(each[-1] for each in alone):14.4f}{1.0:14.2f}", flush=True)
        for count in map(int, options["num_measured"].split(",")):
            found = [run(seed, num_trials, count) for seed in seeds]
            pairs = zip(alone, found, strict=True)
            ratios = [_first(before, before[-1]) / _first(after, before[-1]) for before, after in pairs]
            volume, ratio = statistics.mean(each[-1] for each in found), statistics.median(ratios)
            by_seed = " ".join(f"{each:.1f}" for each in ratios)
            print(f"{problem:12}{count:10}{volume:14.4f}{ratio:14.2f}   {by_seed}", flush=True)
            figures[f"{problem}_fewer_trials_{count}"] = round(ratio, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""How many fewer trainings a search needs that knows costs first: ``python benchmarks/cost_first.py [seeds=200-209]``.

Nothing is trained: the laws of `conditional.py`. The cost of a configuration is known when it is asked for, its error
only when it is tried.

Per law, the same searcher with and without `imer_ray.tuning.study.cost_first`: the share of the true front's
hypervolume after ``trials``, and how many times fewer trials the one with it needs for what the one without has after
its last (0: it does not get there), the median over seeds. ``num_measured=1`` takes the first by the same models,
without looking at its cost: what the models alone are worth. ``keep=0.25`` bounds the cost so that a quarter of the
space keeps the bound, which both are told (``keep=1``: no bound); a trial that breaks it counts for nothing, and how
many did is printed.
Options: ``trials=48``, ``searcher=tpe``, ``num_measured=1,4``, ``problems=samplers,priors,backbones``, ``keep=1``.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from conditional import LAWS, conditional
from problems import REFERENCE, Problem

from imer_ray.tuning.objectives.constraints import parse
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.study.cost_first.chooser import CostFirst
from imer_ray.tuning.study.record import Record

NUM_STARTUP = 8
NUM_DRAWN = 2000  # configurations, of which the bound is the quantile of their costs
WORST = (1.0, 1.0)  # objectives that add no hypervolume
OBJECTIVES = tuple(
    replace(each, reference=worst) for each, worst in zip(objectives("MAE", "flops"), REFERENCE, strict=True)
)


def name(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def bound(problem: Problem, keep: float) -> float:
    """The cost that this share of uniform draws does not exceed, in ranges of the law's; inf: no bound."""
    if keep >= 1.0:
        return math.inf
    rng = random.Random(0)
    costs = sorted(problem.measure(problem.space.sample(rng))[1] for _ in range(NUM_DRAWN))
    return costs[round(keep * NUM_DRAWN)]


def search(
    problem: Problem, searcher: str, seed: int, num_trials: int, num_measured: int, limit: float = math.inf
) -> tuple[Sequence[float], int]:
    """The share of the true front's hypervolume after each trial, and how many trials cost more than ``limit``;
    ``num_measured`` 0: the searcher alone."""
    constraints = parse([f"flops_per_clip <= {10**limit!r}"] if limit < math.inf else [])
    module = importlib.import_module(f"imer_ray.tuning.searchers.{searcher}")
    record = Record(
        optuna.create_study(directions=["minimize", "minimize"]),
        sync=lambda: None,
        space=problem.space,
        objectives=OBJECTIVES,
        constraints=constraints,
        configure=dict,
        identify=name,
        build_sampler=functools.partial(module.build, population=NUM_STARTUP),
        seed=seed,
    )

    def measure(configurations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float] | None]:
        return [{"flops_per_clip": 10 ** problem.measure(values)[1]} for values in configurations]

    if num_measured:
        record.cost_first = CostFirst(problem.space, OBJECTIVES, constraints, measure, num_measured, NUM_STARTUP)
    found, broken = [], 0
    for _ in range(num_trials):
        proposal = record.ask()
        assert proposal is not None, "these spaces do not end"
        quality, cost = problem.measure(proposal.values)
        found.append((quality, cost) if cost <= limit else WORST)
        broken += cost > limit
        metrics = {"valid.MAE": quality, "flops_per_clip": 10**cost}
        row = {"trial": proposal.trial, "point": 0, "config": json.dumps(dict(proposal.config)), "error": None}
        record.tell(proposal.trial, [{**row, **metrics}])
    return (1 - problem.regret(found)).tolist(), broken


def _first(volumes: Sequence[float], target: float) -> float:
    return next((number for number, volume in enumerate(volumes, start=1) if volume >= target), math.inf)


def main() -> None:
    options = {"seeds": "200-209", "trials": "48", "searcher": "tpe", "num_measured": "1,4"}
    options |= {"problems": ",".join(LAWS), "keep": "1"} | dict(word.split("=", 1) for word in sys.argv[1:])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first, _, last = options["seeds"].partition("-")
    seeds, num_trials = range(int(first), int(last or first) + 1), int(options["trials"])
    figures: dict[str, float] = {}
    print(f"{'problem':12}{'measured':>10}{'hypervolume':>14}{'too costly':>12}{'fewer trials':>14}   by seed")
    for problem in options["problems"].split(","):
        law = conditional(problem)
        limit = bound(law, float(options["keep"]))
        run = functools.partial(search, law, options["searcher"], limit=limit)
        alone, broken = zip(*(run(seed, num_trials, 0) for seed in seeds), strict=True)
        mean = statistics.mean(each[-1] for each in alone)
        print(f"{problem:12}{0:10}{mean:14.4f}{statistics.mean(broken):12.1f}{1.0:14.2f}", flush=True)
        for count in map(int, options["num_measured"].split(",")):
            volumes, broken = zip(*(run(seed, num_trials, count) for seed in seeds), strict=True)
            pairs = zip(alone, volumes, strict=True)
            ratios = [_first(before, before[-1]) / _first(after, before[-1]) for before, after in pairs]
            volume, ratio = statistics.mean(each[-1] for each in volumes), statistics.median(ratios)
            by_seed = " ".join(f"{each:.1f}" for each in ratios)
            mean = statistics.mean(broken)
            print(f"{problem:12}{count:10}{volume:14.4f}{mean:12.1f}{ratio:14.2f}   {by_seed}", flush=True)
            figures[f"{problem}_fewer_trials_{count}"] = round(ratio, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""How many fewer trainings a search needs that knows costs first: ``python benchmarks/cost_first.py [seeds=200-209]``.

Nothing is trained. Problems are closed-form laws with the shape of our own spaces: choices that bring numbers of their
own, error that falls with what is spent, an optimum of a continuous number that depends on others. Objectives are
(error, log10 of the cost), both minimised. The cost of a configuration is known when it is asked for, its error only
when it is tried.

Per problem, the same searcher with and without `imer_ray.tuning.study.cost_first`: the hypervolume after ``trials``,
and how many times fewer trials the one with it needs for what the one without has after its last (0: it does not get
there), the median over seeds. ``num_measured=1`` takes the first by the same models, without looking at its cost: what
the models alone are worth. Options: ``trials=48``, ``searcher=tpe``, ``num_measured=1,4``,
``problems=samplers,priors``.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from imer_ray.results.hypervolume import hypervolume_history
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.space.space import Parameter, Space
from imer_ray.tuning.study.cost_first.chooser import CostFirst
from imer_ray.tuning.study.record import Record

NUM_STARTUP = 8
REFERENCE = {"quality": 0.6, "speed": 2.5}
OBJECTIVES = tuple(replace(each, reference=REFERENCE[each.name]) for each in objectives("MAE", "flops"))
DRAWN = ("ddim", "heun")
STEPPED = (*DRAWN, "dpmpp")


@dataclass(frozen=True)
class Problem:
    parameters: tuple[Parameter, ...]
    law: Callable[[Mapping[str, Any]], tuple[float, float]]


def choice(path: str, *choices: Any) -> Parameter:
    return Parameter(path=path, distribution=CategoricalDistribution(choices), when={})


def whole(path: str, high: int, low: int = 1, **when: tuple[Any, ...]) -> Parameter:
    return Parameter(path=path, distribution=IntDistribution(low, high, log=True), when=when)


def number(path: str, low: float, high: float, log: bool = False, **when: tuple[Any, ...]) -> Parameter:
    return Parameter(path=path, distribution=FloatDistribution(low, high, log=log), when=when)


def samplers(values: Mapping[str, Any]) -> tuple[float, float]:
    """n steps of order p, churn c, d draws, a weight w."""
    sampler, weight = values["sampler"], math.log10(values["weight"])
    if sampler == "none":
        return 0.42 + 0.03 * (weight + 0.5) ** 2, 0.0
    steps, draws, order = values["steps"], values.get("draws", 1), 1 if sampler == "ddim" else 2
    error = 0.2 + (0.12 if order == 1 else 0.3) / steps**order + 0.03 * (weight - 0.5) ** 2
    if "churn" in values:
        churn = values["churn"]
        error += 0.05 * (churn - steps / (steps + 8)) ** 2 - 0.04 * churn * (1 - 1 / draws)
    return error, math.log10(1 + (2 * steps - 1 if sampler == "heun" else steps) * draws)


def priors(values: Mapping[str, Any]) -> tuple[float, float]:
    """A closed form of some rank, a mixture of some components, or a flow of some depth and width."""
    prior, ridge, draws = values["prior"], math.log10(values["ridge"]), values.get("draws", 1)
    if prior == "gaussian":
        rank = values["rank"]
        return 0.3 + 0.08 * math.exp(-rank / 12) + 0.01 * (ridge + 3 - rank / 32) ** 2, math.log10(1 + 0.02 * rank)
    if prior == "mixture":
        components = values["components"]
        error = 0.25 + 0.1 / components + 0.03 * (components / 32) ** 2 + 0.01 * (ridge + 1) ** 2
        return error - 0.03 * (1 - 1 / draws), math.log10(1 + 0.15 * components * math.sqrt(draws))
    depth, width = values["depth"], values["width"]
    error = 0.2 + 0.15 * math.exp(-depth * math.sqrt(width) / 24) - 0.03 * (1 - 1 / draws)
    return error, math.log10(6 + 0.5 * draws * depth * (width / 64) ** 2)


PROBLEMS = {
    "samplers": Problem(
        (
            choice("sampler", "none", *STEPPED),
            whole("steps", 32, sampler=STEPPED),
            whole("draws", 8, sampler=DRAWN),
            number("churn", 0.0, 1.0, sampler=DRAWN),
            number("weight", 0.01, 10.0, log=True),
        ),
        samplers,
    ),
    "priors": Problem(
        (
            choice("prior", "gaussian", "mixture", "flow"),
            whole("rank", 64, prior=("gaussian",)),
            whole("components", 32, low=2, prior=("mixture",)),
            number("ridge", 1e-4, 1.0, log=True),
            whole("depth", 8, prior=("flow",)),
            whole("width", 256, low=16, prior=("flow",)),
            whole("draws", 8, prior=("mixture", "flow")),
        ),
        priors,
    ),
}


def name(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def search(problem: Problem, searcher: str, seed: int, num_trials: int, num_measured: int) -> Sequence[float]:
    """The hypervolume after each trial; ``num_measured`` 0: the searcher alone."""
    module = importlib.import_module(f"imer_ray.tuning.searchers.{searcher}")
    space = Space(name="", text="", parameters=problem.parameters)
    record = Record(
        optuna.create_study(directions=["minimize", "minimize"]),
        sync=lambda: None,
        space=space,
        objectives=OBJECTIVES,
        configure=dict,
        identify=name,
        build_sampler=functools.partial(module.build, population=NUM_STARTUP),
        seed=seed,
    )

    def measure(configurations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float] | None]:
        return [{"flops_per_clip": 10 ** problem.law(values)[1]} for values in configurations]

    if num_measured:
        record.cost_first = CostFirst(space, OBJECTIVES, (), measure, num_measured, NUM_STARTUP)
    found = []
    for _ in range(num_trials):
        proposal = record.ask()
        assert proposal is not None, "these spaces do not end"
        found.append(problem.law(proposal.values))
        metrics = {"valid.MAE": found[-1][0], "flops_per_clip": 10 ** found[-1][1]}
        row = {"trial": proposal.trial, "point": 0, "config": json.dumps(dict(proposal.config)), "error": None}
        record.tell(proposal.trial, [{**row, **metrics}])
    return hypervolume_history(found, [objective.reference for objective in OBJECTIVES]).tolist()


def _first(volumes: Sequence[float], target: float) -> float:
    return next((number for number, volume in enumerate(volumes, start=1) if volume >= target), math.inf)


def main() -> None:
    options = {"seeds": "200-209", "trials": "48", "searcher": "tpe", "num_measured": "1,4"}
    options |= {"problems": ",".join(PROBLEMS)} | dict(word.split("=", 1) for word in sys.argv[1:])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first, _, last = options["seeds"].partition("-")
    seeds, num_trials = range(int(first), int(last or first) + 1), int(options["trials"])
    figures: dict[str, float] = {}
    print(f"{'problem':12}{'measured':>10}{'hypervolume':>14}{'fewer trials':>14}   by seed")
    for problem in options["problems"].split(","):
        run = functools.partial(search, PROBLEMS[problem], options["searcher"])
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

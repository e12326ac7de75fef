"""How much of a front is luck, and what further seeds are worth: ``python benchmarks/noise.py [seeds=300-309]``.

Nothing is trained: the laws of `conditional.py` and tables of `problems.py`, whose quality is measured with normal
noise of standard deviation ``noise``, in ranges of the quality; the cost is exact. A trial has, as in a search, further
points that differ from it in what needs no training (`FREE`), and share its noise but for a tenth of its variance.

A search has ``evaluations``, of which ``share`` go to further seeds of points on its front
(`imer_ray.tuning.replication.allocation`): when the trials are done (``after``, which is ``study.repeats``), or every
so often meanwhile, told to the searcher (``during``, which no search does: whether one should); ``none``: all are new
trials. Printed, as means over seeds with standard errors: of the points on the front of what was measured the share
that is on the front of 20 further seeds of all points (stays), and of the front's points alone (among); what the first
would be for somebody who knew the true values of the points (oracle), since 20 seeds are noisy, too; the regret of
the front's true values, and what of it is due to choosing by what was measured (missed); by how much the measured
hypervolume is larger than the true one (flatters), in that of the true front; and how many points are on the front.

Options: ``problems=samplers,priors,backbones``, ``searchers=ehvi``, ``policies=none,after,during``, ``noise=0.03``,
``evaluations=40``, ``share=0.25``, ``free=1`` (0: no further points).
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import optuna
from conditional import LAWS, conditional
from optuna.trial import create_trial
from problems import REFERENCE, Problem, table

from imer_ray.config.commands import StudyConfig
from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.pareto import pareto_front
from imer_ray.tuning import searchers
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.replication.repeats import Repeat, next_repeat
from imer_ray.tuning.study.record import Record

OBJECTIVES = objectives(quality="MAE", speed="flops")  # which are minimised as they are, and by their logarithm
FREE = {"samplers": ("steps", "draws"), "priors": ("draws",), "backbones": ("precision",)}
OWN_SHARE = 0.1  # of the variance of the noise, that is a point's own
NUM_FURTHER = 20  # seeds
MOST_SEEDS = 4  # further ones of a point
MOST_POINTS = 4  # further ones of a trial
Values = Mapping[str, Any]


class Noisy:
    """A problem whose quality is measured with noise, which the same training always has."""

    def __init__(self, problem: Problem, free: bool, noise: float, seed: int) -> None:
        self.problem, self._noise, self._seed = problem, noise, seed
        self._free = FREE.get(problem.name, ()) if free else ()

    def points(self, values: Values) -> Iterator[dict[str, Any]]:
        """The configuration, and up to `MOST_POINTS` that share its training."""
        yield dict(values)
        lines = [self._line(path, values) for path in self._free if path in values]
        found = [{**values, path: value} for path, line in zip(self._free, lines, strict=False) for value in line]
        yield from found[:MOST_POINTS]

    def _line(self, path: str, values: Values) -> list[Any]:
        (parameter,) = (p for p in self.problem.space.parameters if p.path == path and p.exists(values))
        d, own = parameter.distribution, values[path]
        if hasattr(d, "choices"):
            return [choice for choice in d.choices if choice != own]
        return [number for number in (own // 2, 2 * own) if d.low <= number <= d.high]

    def measure(self, values: Values, training: Values, seed: int) -> tuple[float, float]:
        """As a training of ``training``, that has all that needs one, gave it with a seed."""
        quality, cost = self.problem.measure(values)
        shared, own = self._normal(name(training), seed), self._normal(f"of {name(values)}", seed)
        return quality + self._noise * (math.sqrt(1 - OWN_SHARE) * shared + math.sqrt(OWN_SHARE) * own), cost

    def _normal(self, text: str, seed: int) -> float:
        return float(np.random.default_rng([self._seed, seed, *text.encode()]).standard_normal())


def name(values: Values) -> str:
    return json.dumps({path: value for path, value in values.items() if path != "seed"}, sort_keys=True)


def searched(noisy: Noisy, searcher: str, policy: str, seed: int, num_evaluations: int, share: float) -> Record:
    module = importlib.import_module(f"{searchers.__name__}.{searcher}")
    study = optuna.create_study(directions=["minimize", "minimize"])
    record = Record(
        study,
        sync=lambda: None,
        space=noisy.problem.space,
        objectives=OBJECTIVES,
        configure=lambda values: {**values, "seed": 0},
        identify=name,
        build_sampler=functools.partial(module.build, population=StudyConfig.num_startup_trials),
        seed=seed,
    )
    num_repeats = 0 if policy == "none" else round(share * num_evaluations)
    first = {"none": num_evaluations, "after": num_evaluations - num_repeats, "during": StudyConfig.num_startup_trials}
    for done in range(num_evaluations):
        wanted = num_repeats * (done + 1 - first[policy]) / max(1, num_evaluations - first[policy])
        if policy != "none" and done >= first[policy] and len(record.repeats) < math.ceil(wanted):
            if (repeat := next_repeat(record, MOST_SEEDS, Counter())) is not None:
                told = record.tell_repeat(_repeated(noisy, record, repeat))
                if policy == "during":
                    values = noisy.problem.space.locate(repeat.config)
                    assert values is not None
                    measured = [told[objective.column] for objective in OBJECTIVES]
                    distributions = dict(noisy.problem.space.distributions(values))
                    study.add_trial(create_trial(params=values, distributions=distributions, values=measured))
                continue
        proposal = record.ask()
        if proposal is None:
            break
        points = list(noisy.points(proposal.values))
        rows = [_row(noisy, proposal.trial, i, values, proposal.values, 0) for i, values in enumerate(points)]
        record.tell(proposal.trial, rows)
    return record


def _repeated(noisy: Noisy, record: Record, repeat: Repeat) -> dict[str, Any]:
    own = next(row for row in record.rows if (row["trial"], row["point"]) == (repeat.trial, 0))
    training = json.loads(own["config"])
    row = _row(noisy, repeat.trial, repeat.point, repeat.config, training, repeat.number)
    return {**row, "repeat": repeat.number}


def _row(noisy: Noisy, trial: int, point: int, values: Values, training: Values, seed: int) -> dict[str, Any]:
    quality, cost = noisy.measure(values, training, seed)
    config = json.dumps({**values, "seed": seed})
    return {
        **{"trial": trial, "point": point, "config": config, "error": None},
        **{"valid.MAE": quality, "flops_per_clip": 10**cost},
    }


def figures(noisy: Noisy, record: Record, noise: float, seed: int) -> dict[str, float]:
    """What is printed of one search."""
    truths, means, again = [], [], []
    for row in record.points:
        values = json.loads(row["config"])
        repeats = (r for r in record.repeats if (r["trial"], r["point"]) == (row["trial"], row["point"]))
        own = [[each[objective.column] for objective in OBJECTIVES] for each in (row, *repeats)]
        truths.append(noisy.problem.measure(values))
        means.append(np.mean(own, axis=0))
        luck = [np.random.default_rng([seed, 1, row["trial"], at]).standard_normal() for at in (0, 1 + row["point"])]
        spread = math.sqrt(1 - OWN_SHARE) * luck[0] + math.sqrt(OWN_SHARE) * luck[1]
        again.append((truths[-1][0] + noise * spread / math.sqrt(NUM_FURTHER), truths[-1][1]))
    front = pareto_front(np.array(means))
    true, seen, best = (hypervolume(of, REFERENCE) for of in (np.array(truths)[front], np.array(means)[front], truths))
    stays = pareto_front(np.array(again))
    return {
        "stays": float(stays[front].mean()),
        "oracle": float(stays[pareto_front(np.array(truths))].mean()),
        "among": float(pareto_front(np.array(again)[front]).mean()),
        "regret": 1 - true / noisy.problem.best,
        "missed": (best - true) / noisy.problem.best,
        "flatters": (seen - true) / noisy.problem.best,
        "points": float(front.sum()),
    }


@functools.cache
def find(problem: str) -> Problem:
    return conditional(problem) if problem in LAWS else table(problem)


def main() -> None:
    options = {"problems": ",".join(LAWS), "searchers": "ehvi", "policies": "none,after,during", "seeds": "300-309"}
    options |= {"noise": "0.03", "evaluations": "40", "share": "0.25", "free": "1"}
    options |= dict(word.split("=", 1) for word in sys.argv[1:])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    noise, share, num = float(options["noise"]), float(options["share"]), int(options["evaluations"])
    first, _, last = options["seeds"].partition("-")
    for problem in options["problems"].split(","):
        for searcher in options["searchers"].split(","):
            for policy in options["policies"].split(","):
                found = []
                for seed in range(int(first), int(last or first) + 1):
                    noisy = Noisy(find(problem), options["free"] == "1", noise, seed)
                    found.append(figures(noisy, searched(noisy, searcher, policy, seed, num, share), noise, seed))
                words = [f"{problem:10} {searcher:6} {policy:7}"]
                for key in found[0]:
                    values = [each[key] for each in found]
                    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
                    words.append(f"{key} {statistics.fmean(values):.3f} ({error:.3f})")
                print("  ".join(words), flush=True)


if __name__ == "__main__":
    main()

"""What proposals that share a pretraining gain and cost: ``python benchmarks/prefix.py``.

    python benchmarks/prefix.py [seeds=7 num_trials=96 pretraining=10]

Nothing is trained: on a conditional problem with a known front, TPE proposes as in a study with
``study.prefix_trials`` 1, 2, 3 and 4. A pretraining that no trial before had costs ``pretraining`` times as much as the
rest of a trial. Printed are, as medians over seeds: how many pretrainings the trials ask for, the hypervolume after
them, and the hypervolume when as much is spent as the trials of ``prefix_trials=4`` cost. Last one JSON line.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from imer_ray.results.hypervolume import hypervolume
from imer_ray.tuning.searchers import TRIAL, tpe
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.space.space import Parameter, Space

SPACE = Space(
    name="analytic",
    text="",
    parameters=(
        Parameter(path="sde", distribution=CategoricalDistribution(["vp", "ve", "edm", "flow"]), when={}),
        Parameter(path="sigma", distribution=FloatDistribution(5, 50, log=True), when={"sde": ("ve",)}),
        Parameter(path="backbone", distribution=CategoricalDistribution(["transformer", "dit", "mixer"]), when={}),
        Parameter(path="weight", distribution=FloatDistribution(0.01, 10, log=True), when={}),
        Parameter(path="sampler", distribution=CategoricalDistribution(["ddim", "heun", "dpmpp_2m"]), when={}),
        Parameter(path="steps", distribution=IntDistribution(1, 64, log=True), when={}),
    ),
)
PREFIX = ("sde", "sigma", "backbone")
LOSS = {"vp": 0.05, "ve": 0.0, "edm": 0.15, "flow": 0.25, "transformer": 0.03, "dit": 0.0, "mixer": 0.06}
LOSS |= {"ddim": 0.05, "heun": 0.02, "dpmpp_2m": 0.0}
PRETRAININGS = {"transformer": 1.0, "dit": 1.6, "mixer": 0.7}  # network time of each backbone
SHARED = (1, 2, 3, 4)


def objectives(values: Mapping[str, Any]) -> tuple[float, float]:
    """(quality, speed), both minimised: steps and the backbone trade one for the other, all else is right or wrong."""
    lost = LOSS[values["sde"]] + LOSS[values["backbone"]] + LOSS[values["sampler"]]
    lost += 0.1 * math.log10(values["sigma"] / 16) ** 2 if "sigma" in values else 0.0
    lost += 0.05 * math.log10(values["weight"] / 0.5) ** 2
    quality = 0.2 + lost + 0.4 / values["steps"]
    return quality, math.log10(1 + values["steps"] * PRETRAININGS[values["backbone"]]) / 2


def search(seed: int, shared: int, num_trials: int, pretraining: float) -> list[tuple[int, float, float]]:
    """(pretrainings, cost, hypervolume) after each trial."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    seen: set[tuple[Any, ...]] = set()
    points: list[tuple[float, float]] = []
    done = []
    for number in range(num_trials):
        study.sampler = SharedPrefix(tpe.build(10_000 * seed + number, 8), PREFIX, shared)
        trial = study.ask()
        trial.set_user_attr(TRIAL, number)
        values = SPACE.suggest(trial)
        points.append(objectives(values))
        study.tell(trial, points[-1])
        seen.add(tuple(values.get(path) for path in PREFIX))
        done.append((len(seen), number + 1 + pretraining * len(seen), hypervolume(np.array(points), (1.0, 1.0))))
    return done


def main(seeds: int = 7, num_trials: int = 96, pretraining: float = 10.0) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = {n: [search(seed, n, num_trials, pretraining) for seed in range(seeds)] for n in SHARED}
    figures: dict[str, float] = {}
    print("prefix_trials  pretrainings  hypervolume  at equal cost")
    for n, runs in found.items():
        equal = []
        for run, yardstick in zip(runs, found[SHARED[-1]], strict=True):
            within = [volume for _, cost, volume in run if cost <= yardstick[-1][1]]
            equal.append(within[-1] if within else 0.0)
        row = [statistics.median(run[-1][i] for run in runs) for i in (0, 2)] + [statistics.median(equal)]
        figures |= dict(zip((f"pretrainings_{n}", f"hypervolume_{n}", f"at_equal_cost_{n}"), row, strict=True))
        print(f"{n:13}  {row[0]:12.0f}  {row[1]:11.4f}  {row[2]:13.4f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    given = dict(argument.split("=") for argument in sys.argv[1:])
    main(**{name: float(value) if name == "pretraining" else int(value) for name, value in given.items()})

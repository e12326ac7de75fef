"""A record of a small study, and rows as its trials give them."""

import json
import math
from importlib import import_module

from optuna.distributions import CategoricalDistribution, IntDistribution

from imer_ray.testing.searchers import PROCESS
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.space.space import Parameter, Space
from imer_ray.tuning.study.journal import FILE_NAME, Journal, open_study
from imer_ray.tuning.study.record import Record

SPACE = Space(
    name="test",
    text="",
    parameters=(
        *PROCESS,
        Parameter(path="steps", distribution=IntDistribution(1, 64, log=True), when={}),
    ),
)
GRID = Space(
    name="grid",
    text="",
    parameters=(
        Parameter(path="sde", distribution=CategoricalDistribution(["vp", "ve"]), when={}),
        Parameter(path="steps", distribution=IntDistribution(1, 3), when={}),
    ),
)


def canonical(config):
    return json.dumps(config, sort_keys=True)


def record(folder, sampler="random", space=SPACE, seed=1, population=4, constraints=(), identify=canonical, code=None):
    journal = Journal(folder / FILE_NAME)
    return Record(
        open_study(journal, 2),
        sync=journal.sync,
        space=space,
        objectives=objectives(quality="Non0_F1_score", speed="latency"),
        configure=dict,
        identify=identify,
        build_sampler=lambda seed: import_module(f"imer_ray.tuning.searchers.{sampler}").build(seed, population),
        seed=seed,
        constraints=constraints,
        code=code,
    )


def row(proposal, ending="complete", point=0, nfe=1.0, **changes):
    config = {**proposal.config, **changes}
    metrics = {"valid.Non0_F1_score": 0.8 - 0.2 / config["steps"], "speedup_vs_imder": 100.0 / config["steps"]}
    metrics["nfe"] = nfe
    match ending:
        case "nan":
            metrics["valid.Non0_F1_score"] = math.nan
        case "inf":
            metrics["speedup_vs_imder"] = math.inf
        case "missing":
            del metrics["speedup_vs_imder"]
    error = "ValueError: a bug" if ending == "error" else None
    return {"trial": proposal.trial, "point": point, "config": json.dumps(config), "error": error, **metrics}


def trials(folder):
    return open_study(Journal(folder / FILE_NAME), 2).get_trials(deepcopy=False)

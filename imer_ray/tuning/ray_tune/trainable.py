"""The function that Ray Tune runs for each trial."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from imer_ray.config import plugins
from imer_ray.config.tree import replace
from imer_ray.stages.client import Client
from imer_ray.tuning.trial.coordinator import OUTCOME, run_points, waiter_name
from imer_ray.tuning.trial.local_search import Grid

LEAVING_SECONDS = "60"  # that Tune gives a stopped trial to end; it takes one poll of the broker


def coordinate(
    config: Mapping[str, Any],
    base: Mapping[str, Any],
    grid: Grid,
    client: Client,
    study: str,
    systems: str,
    rungs: tuple[int, ...] = (),
    loaded: tuple[str, ...] = (),
    machine: str | None = None,
) -> None:
    """The function that Tune runs.

    Args:
        config: ``{"trial": number, "values": {path: value}}``, from the searcher.
        base: what the trial's configuration is made from.
        grid: which further points its recogniser may be scored at.
        systems: package of the systems' modules.
        rungs: epochs after which its trainings are compared with others.
        loaded: plugins that the search was told to load.
        machine: hardware that times are measured on, see `imer_ray.systems.graph`.
    """
    from ray import tune

    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = LEAVING_SECONDS

    plugins.load(loaded)
    tree = replace(base, config["values"], grid.components)
    waiter = waiter_name(study, config["trial"])
    outcome = run_points(tree, grid, client, waiter, tune.report, systems, rungs, machine)
    tune.report({OUTCOME: json.dumps(outcome)})

"""The rivals without recovery, scored beside a study: no points of it, but a front means little without them."""

from __future__ import annotations

import importlib
import json
from typing import Any

from imer_ray.files import write_whole
from imer_ray.tuning.study import Plan
from imer_ray.tuning.trial import SPLIT

SYSTEMS = ("zero", "masked")


def score(plan: Plan, client: Any) -> None:
    """Compute the baselines' stages, each once like any other, and write them to ``baselines.json``."""
    found: dict[str, dict[str, float]] = {}
    for system in SYSTEMS:
        final = importlib.import_module(f"{plan.systems}.{system}").graph({**plan.base, "system": system}, SPLIT)
        try:
            for stage in final.in_order():
                found[system] = dict(client.compute(stage, waiter=f"baseline-{system}").metrics)
        except Exception as error:  # whatever it is, the study is worth more than its company
            print(f"the baseline {system} could not be scored and is left out: {error}")
            found.pop(system, None)
    write_whole(plan.folder / "baselines.json", json.dumps(found, indent=1).encode())

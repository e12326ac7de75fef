"""The rivals without recovery, scored beside a study: no points of it, but a front means little without them."""

from __future__ import annotations

import json
from collections.abc import Callable

from imer_ray.errors import printable
from imer_ray.files import write_whole
from imer_ray.stages.client import Client
from imer_ray.stages.graph import most_needed_first
from imer_ray.stages.job import Status
from imer_ray.tuning.study.plan import Plan

SYSTEMS = ("masked", "zero")


class _Ended(Exception):
    """The search has ended before its baselines."""


def score(plan: Plan, client: Client, is_over: Callable[[], bool] = lambda: False) -> None:
    """Compute the baselines' stages, each once like any other, and write them to ``baselines.json``.

    When ``is_over``, they are left to the next command.
    """

    def check(status: Status) -> None:
        if is_over():
            raise _Ended

    searched = {stage.key for stage in plan.final_stage(plan.base).in_order()}
    found: dict[str, dict[str, float]] = {}
    for system in SYSTEMS:
        final = plan.final_stage({**plan.base, "system": system})
        try:
            for stage in (*most_needed_first(final.in_order()), final):
                background = stage.key not in searched
                found[system] = dict(client.compute(stage, f"baseline-{system}", check, background=background).metrics)
        except _Ended:
            client.leave(f"baseline-{system}")
            return
        except Exception as error:  # whatever it is, the study is worth more than its company
            if is_over():
                return
            print(printable(f"the baseline {system} could not be scored and is left out: {error}"))
            found.pop(system, None)
    write_whole(plan.folder / "baselines.json", json.dumps(found, indent=1).encode())

"""What configurations cost, measured by stages that the broker runs once each, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.evaluation.predict import num_evaluations
from imer_ray.stages.client import Client
from imer_ray.stages.graph import Stage
from imer_ray.tuning.study.cost_first import NotYet
from imer_ray.tuning.study.cost_first.chooser import CostFirst, Measure
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.trial.status import COST

NUM_WAITING = 8  # stages that are waited for at a time


def chooser(plan: Plan, measure: Measure) -> CostFirst | None:
    """What chooses a study's proposals by their cost, if its settings want that."""
    settings = plan.options.study
    if not settings.cost_first:
        return None
    return CostFirst(
        plan.space, plan.objectives, plan.constraints, measure, settings.cost_first, settings.num_startup_trials
    )


class Costs:
    """Asks for the stages `cost` of configurations, and does not wait for them."""

    def __init__(self, plan: Plan, client: Client) -> None:
        self._plan, self._client = plan, client
        self._waiter = f"{plan.info.study}-cost-first"
        self._asked: dict[str, Future[Mapping[str, float]]] = {}
        self._pool = ThreadPoolExecutor(NUM_WAITING, thread_name_prefix="cost-first")

    def __call__(self, configurations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float] | None]:
        """See `imer_ray.tuning.study.cost_first.chooser.Measure`. A stage that fails leaves its cost unknown."""
        stages = [cost_stage(self._plan.final_stage(config)) for config in configurations]
        for stage in filter(None, stages):
            if stage.key not in self._asked:
                self._asked[stage.key] = self._pool.submit(self._compute, stage)
        futures = [None if stage is None else self._asked[stage.key] for stage in stages]
        if not all(future is None or future.done() for future in futures):
            raise NotYet
        return [
            None if future is None or future.exception() else with_evaluations(future.result(), config)
            for future, config in zip(futures, configurations, strict=True)
        ]

    def close(self) -> None:
        """Wait for nothing any more."""
        self._client.leave(self._waiter)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compute(self, stage: Stage) -> Mapping[str, float]:
        return self._client.compute(stage, self._waiter).metrics


def cost_stage(final: Stage) -> Stage | None:
    """The stage that measures a configuration's cost, unless it stands on what is trained, as a mixture's does."""
    found = final.inputs.get(COST)
    return found if found is not None and not found.inputs else None


def with_evaluations(cost: Mapping[str, float], config: Mapping[str, Any]) -> dict[str, float]:
    """With the number of network evaluations, which no stage has to measure."""
    return {**cost, "nfe": float(num_evaluations(typed(config, ExperimentConfig)))}

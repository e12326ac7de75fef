"""The executor `inline`: a stage runs in a Ray task of its own, with the CPUs and GPUs that it asks for."""

from __future__ import annotations

from collections.abc import Mapping

import ray
from ray import ObjectRef

from imer_ray.scaling.gpus import ALL_VISIBLE, leased
from imer_ray.scaling.hardware import Hardware
from imer_ray.scaling.heart import Run
from imer_ray.scaling.worker import work
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import Place, StageResult


def submit(
    stage: Stage, store_root: str, scaling: Hardware, run: Run, places: Mapping[str, str]
) -> ObjectRef[StageResult]:
    """Start the task, on a node with the labels that ``places`` selects. It is never retried by Ray, because the broker
    does that.

    A worker process is used again, so that torch is imported once; with GPUs, too (`imer_ray.scaling.gpus`).
    """
    cpus, gpus = scaling.cpus_per_stage, scaling.gpus_per_stage
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=0)(_run)
    environment = {"runtime_env": {"env_vars": ALL_VISIBLE}} if gpus else {}
    return task.options(name=stage.name, label_selector=dict(places), **environment).remote(
        stage, store_root, scaling, run
    )


def _run(stage: Stage, store_root: str, scaling: Hardware, run: Run) -> StageResult:
    gpus = scaling.gpus_per_stage
    place = Place(device=leased() if gpus else "cpu", num_threads=max(1, int(scaling.cpus_per_stage)))
    return work(stage, store_root, run, place, "inline", gpus)

"""The executor `inline`: a stage runs in a Ray task of its own, with the CPUs and GPUs that it asks for."""

from __future__ import annotations

from collections.abc import Mapping

import ray
from ray import ObjectRef

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

    A worker process is used again, so that torch is imported once; but not with GPUs, since CUDA keeps the device that
    it saw first.
    """
    cpus, gpus = scaling.cpus_per_stage, scaling.gpus_per_stage
    place = Place(device="cuda:0" if gpus else "cpu", num_threads=max(1, int(cpus)))
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1 if gpus else 0)(work)
    return task.options(name=stage.name, label_selector=dict(places)).remote(stage, store_root, run, place, "inline")

"""The executor `ray_train`: a stage runs on a group of Ray Train workers.

A worker group takes many seconds to start, so this is for long trainings, and for the stages that
``scaling.train_stages`` names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray
from ray import ObjectRef

from imer_ray.errors import NonFiniteError, StageStopped, UserError
from imer_ray.scaling.hardware import Hardware
from imer_ray.scaling.heart import Run
from imer_ray.scaling.worker import work
from imer_ray.stages.graph import Stage
from imer_ray.stages.pulse import WorkerDied
from imer_ray.stages.run import Place, StageResult, found
from imer_ray.stages.store import Store


def submit(
    stage: Stage,
    store_root: str,
    scaling: Hardware,
    run: Run,
    num_workers: int,
    places: Mapping[str, str],
    *,
    holds: bool,
) -> ObjectRef[StageResult]:
    """Start a light task that drives a group of ``num_workers``, on nodes with the labels that ``places`` selects; it
    holds no CPU, the workers do.

    Args:
        holds: whether small stages wait until the group has started, see `BrokerActor.group_starts`.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(_drive)
    options = task.options(name=f"drive {stage.name}", label_selector=dict(places))
    return options.remote(stage, store_root, scaling, run, num_workers, places, holds)


def _drive(
    stage: Stage,
    store_root: str,
    scaling: Hardware,
    run: Run,
    num_workers: int,
    places: Mapping[str, str],
    holds: bool,
) -> StageResult:
    """Run a TorchTrainer to its end and take the artefact that rank 0 committed.

    Failures are not retried here (max_failures is 0): Ray Train would retry a NaN loss like a killed worker.
    The broker tells them apart, for both executors in one place, and the next group resumes from our checkpoint.
    """
    _have_coordinator()
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative paths mean what they mean everywhere else
    os.environ.setdefault(
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"
    )  # a finished group is noticed sooner than after 2 s
    from ray.train import FailureConfig, RunConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import ScalingConfig
    from ray.train.v2.api.exceptions import TrainingFailedError

    from imer_ray.scaling.loopback import LoopbackTorchConfig

    store = Store(store_root)
    gpus = scaling.gpus_per_stage
    resources = {"CPU": scaling.cpus_per_stage, **({"GPU": gpus} if gpus else {})}
    name = f"train-{stage.key}"
    trainer = TorchTrainer(
        _train,
        train_loop_config={"stage": stage, "store_root": store_root, "run": run, "scaling": scaling},
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=gpus > 0,
            resources_per_worker=resources,
            label_selector=dict(places) or None,
        ),
        torch_config=LoopbackTorchConfig(backend=backend(gpus)),
        run_config=RunConfig(
            name=name, storage_path=store.workspaces.location, failure_config=FailureConfig(max_failures=0)
        ),
    )
    try:
        with run.beating(computes=False):
            if holds:
                run.broker.group_starts.remote(stage.key)
            trainer.fit()
    except TrainingFailedError as error:
        raise _cause(error) from error
    finally:
        store.workspaces.drop(name)
    manifest = store.open(stage.key).manifest
    return replace(found(stage, manifest), reused=False)


def backend(gpus: float) -> str:
    """By what workers of a group talk that hold so many GPUs each. NCCL refuses two on one GPU, where Ray may put two
    that hold a share of one."""
    return "nccl" if gpus >= 1 else "gloo"


def _have_coordinator() -> None:
    """Have Ray's coordinator of those who ask for nodes started already while this process imports torch: a group's
    controller waits for it, and its process takes seconds to start."""
    with contextlib.suppress(ImportError):  # Ray keeps it to itself; without us the controller starts it
        from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as coordinator

        coordinator.get_or_create_autoscaling_coordinator()


def _train(config: Mapping[str, Any]) -> None:
    """What each worker runs; Ray Train has set up torch.distributed."""
    import ray.train
    from ray.train.torch import get_device

    stage, scaling = config["stage"], config["scaling"]
    context = ray.train.get_context()
    place = Place(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=str(get_device()) if scaling.gpus_per_stage else "cpu",
        num_threads=max(1, int(scaling.cpus_per_stage)),
    )
    work(stage, config["store_root"], config["run"], place, "ray_train", scaling.gpus_per_stage)


def _cause(error: Exception) -> Exception:
    """The error of the stage's own, if a worker raised one.

    When a worker dies, the others fail in the middle of a collective with errors that say little, so any other error of
    a worker counts as a death.
    """
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        if isinstance(failure, (UserError, NonFiniteError, StageStopped)):
            return failure
    return WorkerDied(str(error))

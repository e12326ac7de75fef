"""What the engine asks of a configuration: which hardware stages take."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

AUTO = "auto"  # among ``train_stages``: trainings whose epochs show that a group pays


class Hardware(Protocol):
    """Settings that can be sent to other processes, as `imer_ray.config.commands.ScalingConfig` has them.

    Attributes:
        num_workers: of a worker group, as `group_bounds` reads it.
        train_stages: kinds of the stages that run in worker groups; ``auto`` among them: trainings go on in a group
            where it pays (`imer_ray.scaling.growth`).
        cpus_per_stage, gpus_per_stage: that a stage holds, or each worker of its group.
        max_failures: deaths of a stage's workers after which it is tried again, since it last got further.
        store_seconds: that a store of stages may fail for.
        silence_seconds: without a sign of life or of work, after which a stage is ended and tried again.
        address: of the cluster to join; None: the one that RAY_ADDRESS names, or a Ray of our own.
    """

    @property
    def num_workers(self) -> int | tuple[int, ...]: ...

    @property
    def train_stages(self) -> Collection[str]: ...

    @property
    def cpus_per_stage(self) -> float: ...

    @property
    def gpus_per_stage(self) -> float: ...

    @property
    def max_failures(self) -> int: ...

    @property
    def store_seconds(self) -> float: ...

    @property
    def silence_seconds(self) -> float: ...

    @property
    def address(self) -> str | None: ...


def group_bounds(num_workers: int | tuple[int, ...]) -> tuple[int, int]:
    """The fewest and the most workers of a group: ``n`` are at most n, as many as there is room for, and 0 none at all;
    ``(fewest, most)`` are waited for until there is room for the fewest."""
    return (0, num_workers) if isinstance(num_workers, int) else (num_workers[0], num_workers[-1])

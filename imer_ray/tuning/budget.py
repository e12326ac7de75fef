"""What a search may spend: seconds of this command, GPU-hours and dollars of the whole study.

- *Seconds* are wall clock since the command began; the next command has as many again.
- *GPU-hours* are what stages took, from the start of their function to its end, times the GPUs that they held
  (``scaling.gpus_per_stage``, times the most of ``scaling.num_workers`` for a stage that runs as a group). Stages that
  failed, were stopped or are still running count; what was found in the store does not.
- *Dollars* are what the cluster's nodes cost while the command runs, busy or not, as a cloud bills them: each node that
  is there, times the price of its type in ``scaling.dollars_per_hour``.

GPU-hours and dollars are noted in the study's journal, so that they add up over all its commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imer_ray.config.commands import ScalingConfig, StudyConfig
from imer_ray.errors import UserError
from imer_ray.stages.client import Client
from imer_ray.tuning.study.record import Record

LOOK_SECONDS = 10.0  # between two looks at the meters
GRACE_SECONDS = 30.0  # that running stages get to reach their next epoch
GPU_HOURS, DOLLARS = "gpu_hours", "dollars"


def check(study: StudyConfig, scaling: ScalingConfig) -> None:
    """Raises UserError if a budget could never be reached, because nothing would be counted."""
    if study.max_cost is not None and scaling.dollars_per_hour is None:
        example = "scaling.dollars_per_hour=1.2, or {head: 0.4, worker_l4: 0.98} by type of node"
        raise UserError(f"study.max_cost={study.max_cost:g} needs the price of a node: {example}")
    if study.max_gpu_hours is not None and not scaling.gpus_per_stage:
        raise UserError(
            f"study.max_gpu_hours={study.max_gpu_hours:g}: stages hold no GPU with scaling.gpus_per_stage=0"
        )


class GpuMeter:
    """GPU-hours since it was made, read off the broker's counts.

    Args:
        stats: `imer_ray.stages.broker.Broker.stats`.
        scaling: says how many GPUs a worker holds.
    """

    def __init__(self, stats: Callable[[], Mapping[str, Any]], scaling: ScalingConfig) -> None:
        self._stats, self._scaling = stats, scaling
        self._ended = self._before = 0.0  # GPU-seconds of stages that have ended; those a broker that died had counted

    def read(self) -> float:
        stats = self._stats()
        gpus = self._scaling.gpus_per_stage  # of each worker
        ended = sum(of_kind["worker_seconds"] * gpus for of_kind in stats["stages"].values())
        if ended < self._ended:  # the broker was restarted, and counts from 0 again
            self._before += self._ended
        self._ended = ended
        running = sum(stage["seconds"] * stage["workers"] * gpus for stage in stats["running"])
        return (self._before + ended + running) / 3600


class CostMeter:
    """Dollars since it was made: every node counts from one reading to the next with the price of its type.

    A type without a price counts as the dearest that has one, so that a budget errs on the safe side.

    Args:
        nodes: the types of the nodes that are there.
        prices: dollars an hour, of every node or by type.
    """

    def __init__(
        self, nodes: Callable[[], Sequence[str]], prices: float | Mapping[str, float], clock: Callable[[], float]
    ) -> None:
        self._nodes, self._prices, self._clock = nodes, prices, clock
        self._last, self._dollars = clock(), 0.0

    def read(self) -> float:
        now = self._clock()
        self._dollars += sum(map(self.price, self._nodes())) * (now - self._last) / 3600
        self._last = now
        return self._dollars

    def price(self, node: str) -> float:
        if not isinstance(self._prices, Mapping):
            return self._prices
        return self._prices.get(node, max(self._prices.values(), default=0.0))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """None is no limit."""

    seconds: float | None = None
    gpu_hours: float | None = None
    dollars: float | None = None


class Budget:
    """Says when to stop.

    Args:
        limits: what may be spent.
        meters: name of a limit -> what this command has spent of it so far.
        before: name of a limit -> what earlier commands have spent of it.
        keep: notes what all commands together have spent.
        started: when the command began, on ``clock``.

    Attributes:
        over: which budget is spent and how to go on, in words, once one is.
    """

    def __init__(
        self,
        limits: Limits,
        meters: Mapping[str, Callable[[], float]],
        before: Mapping[str, float],
        keep: Callable[[Mapping[str, float]], None],
        started: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._meters, self._before, self._keep = limits, meters, dict(before), keep
        self._started, self._clock = started, clock
        self._next = started
        self._spent = dict(before)
        self.over: str | None = None

    def is_over(self) -> bool:
        """Cheap enough for every turn of a loop: the meters are read every `LOOK_SECONDS`."""
        now = self._clock()
        if self.over is None and self._meters and now >= self._next:
            self.look()
        if self.over is None and self._limits.seconds is not None and now - self._started >= self._limits.seconds:
            self.over = f"study.max_seconds={self._limits.seconds:g} is reached; run the same command again to go on"
        return self.over is not None

    def look(self) -> None:
        """Read the meters, and note what they say."""
        self._next = self._clock() + LOOK_SECONDS
        for name, read in self._meters.items():
            self._spent[name] = self._before.get(name, 0.0) + read()
        if self._meters:
            self._keep(self._spent)
        for name, option, unit in ((GPU_HOURS, "max_gpu_hours", "GPU-hours"), (DOLLARS, "max_cost", "dollars")):
            limit, spent = getattr(self._limits, name), self._spent.get(name, 0.0)
            if self.over is None and limit is not None and spent >= limit:
                so_far = f"{spent:.3g} {unit} are spent in this study"
                self.over = f"study.{option}={limit:g} is reached: {so_far}; with a higher one the same command goes on"


def begin(study: StudyConfig, scaling: ScalingConfig, record: Record, client: Client, started: float) -> Budget:
    """The budget of a command that began at ``started`` (monotonic clock), with what the study has spent before."""
    from imer_ray.scaling.cluster import node_types  # imports ray, which a search that cannot work must not wait for

    meters: dict[str, Callable[[], float]] = {}
    if scaling.gpus_per_stage:
        meters[GPU_HOURS] = GpuMeter(client.stats, scaling).read
    if scaling.dollars_per_hour is not None:
        meters[DOLLARS] = CostMeter(node_types, scaling.dollars_per_hour, time.monotonic).read
    limits = Limits(seconds=study.max_seconds, gpu_hours=study.max_gpu_hours, dollars=study.max_cost)
    return Budget(limits, meters, record.spent, record.note_spent, started)


def wind_down(client: Client, patience: float = GRACE_SECONDS) -> None:
    """Wait until no stage runs any more: those that nobody waits for end at their next epoch and keep a checkpoint."""
    end = time.monotonic() + patience
    while client.stats()["running"] and time.monotonic() < end:
        time.sleep(0.2)

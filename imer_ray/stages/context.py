"""What a stage's function is given: where to write, what it builds on, whom to tell, which share of the work is its."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def _stays() -> bool:
    return False


def _nothing() -> None:
    pass


def _keep_going(epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Context:
    """The world of one running stage. A stage's function is ``run(config, context) -> metrics``.

    Attributes:
        folder: the stage writes its artefact's files here (rank 0 only); whole or not at all is the store's business.
        inputs: role -> folder of each input artefact, to be read only.
        checkpoint: a folder of this stage that outlives a killed worker; empty at the first start.
        written: to be called whenever what is in ``checkpoint`` can be gone on from, from any thread: a store that is
            elsewhere is then sent it.
        report: called at each epoch's end with (epochs done, epochs wanted, metrics); False asks the stage to stop,
            which it does by raising StageStopped with its checkpoint written.
        leaving: whether this process's machine is about to be taken away: a stage that can writes its checkpoint then,
            in the middle of an epoch, too, and raises StageStopped. It is asked after every step, and costs nothing.
        rank, world_size: this process among those that run the stage together (torch.distributed is set up if > 1).
        device: where to compute, for example "cpu" or "cuda:0".
        rungs: epochs after which the stage also reports how it compares (`imer_ray.stages.rungs`). Nothing of what it
            gives depends on them.
    """

    folder: Path
    inputs: Mapping[str, Path] = field(default_factory=dict)
    checkpoint: Path
    written: Callable[[], None] = _nothing
    report: Callable[[int, int, Mapping[str, float]], bool] = _keep_going
    leaving: Callable[[], bool] = _stays
    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    rungs: tuple[int, ...] = ()


StageFunction = Callable[[Mapping[str, Any], Context], Mapping[str, float]]

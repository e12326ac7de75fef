"""Comparing unfinished trainings changes nothing of them, and is not forgotten when one is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.errors import NonFiniteError, StageStopped
from imer_ray.stages import rungs
from imer_ray.stages.context import Context
from imer_ray.training.loop import Training, fit, summary

LOOP = LoopConfig(num_epochs=6, batch_size=16, learning_rate=1e-2, weight_decay=0.0, ema_decay=0.9)


def train(folder: Path, report: Any = lambda *given: True, value: float | None = None, **context: Any) -> Any:
    for name in ("artefact", "checkpoint"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))

    def losses(rows: torch.Tensor, share: slice, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"loss": (module(x[rows[share]])[:, 0] - x[rows[share], 1]).square()}

    def measure(average: nn.Module) -> float:
        return float((average(x)[:, 0] - x[:, 1]).square().mean()) if value is None else value

    made = Context(folder=folder / "artefact", checkpoint=folder / "checkpoint", report=report, **context)
    training = Training(
        module=module,
        losses=losses,
        rows=torch.arange(50),
        loop=LOOP,
        seed=7,
        validate=measure,
        compared=measure,
    )
    return module, fit(training, made)


def test_comparing_changes_neither_weights_nor_losses(tmp_path: Path) -> None:
    plain, history = train(tmp_path / "plain")
    watched, compared = train(tmp_path / "watched", rungs=(2, 4, 8))
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), watched.parameters(), strict=True))
    assert [epoch for epoch, values in enumerate(compared, 1) if rungs.ENTRY in values] == [2, 4]
    assert [{k: v for k, v in values.items() if k != rungs.ENTRY} for values in compared] == history
    assert set(summary(compared)) - set(summary(history)) == {"rung.task_loss.2", "rung.task_loss.4"}
    assert {k: summary(compared)[k] for k in summary(history)} == summary(history)


def test_all_rungs_so_far_are_reported_also_by_a_training_that_was_resumed(tmp_path: Path) -> None:
    told: dict[int, dict[int, float]] = {}

    def until(last: int) -> Any:
        def report(epoch: int, num_epochs: int, metrics: Any) -> bool:
            told[epoch] = rungs.read(metrics)
            return epoch < last

        return report

    with pytest.raises(StageStopped):
        train(tmp_path / "parts", until(3), rungs=(2, 4))
    train(tmp_path / "parts", until(9), rungs=(2, 4))
    _, whole = train(tmp_path / "whole", rungs=(2, 4))
    assert [list(told[n]) for n in range(1, 7)] == [[], [2], [2], [2, 4], [2, 4], [2, 4]]
    assert told[6] == {n: whole[n - 1][rungs.ENTRY] for n in (2, 4)}
    assert rungs.count(rungs.reported(whole)) == 2


def test_nothing_is_compared_after_the_last_epoch(tmp_path: Path) -> None:
    _, history = train(tmp_path, rungs=(6,))
    assert rungs.reported(history) == {}


def test_a_comparison_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="validation loss became nan in epoch 2"):
        train(tmp_path, value=float("nan"), rungs=(2,))

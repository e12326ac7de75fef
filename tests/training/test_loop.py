"""The training loop: seeded, resumable, equal for one and for two workers, honest about NaN."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import random
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.errors import NonFiniteError, StageStopped
from imer_ray.models.dropout import Dropout
from imer_ray.stages.context import Context
from imer_ray.training.loop import Training, fit
from imer_ray.training.losses import training_patterns
from imer_ray.training.seeding import seeded

LOOP = LoopConfig(num_epochs=5, batch_size=16, learning_rate=1e-2, weight_decay=0.0, ema_decay=0.9)
X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
GOLDEN = [5.176564, 4.843585, 4.461928, 4.184887, 4.101257]
NUM_SPECIAL = 20  # of the 50, so that in a batch of two there may be none
Y = X @ torch.tensor([1.0, -2.0, 0.5, 0.0])


def _context(folder: Path, **changes: object) -> Context:
    for name in ("artefact", "checkpoint"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context(folder=folder / "artefact", checkpoint=folder / "checkpoint", **changes)  # type: ignore[arg-type]


def _train(
    context: Context, loop: LoopConfig = LOOP, dropout: float = 0.0, validate: Any = None, num_special: int = 0
) -> tuple:
    """Args: num_special: the first so many clips are seen by a layer of their own, as those that lack a modality."""
    torch.manual_seed(0)
    every = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), Dropout(dropout), nn.Linear(8, 1))
    special = nn.Linear(4, 1)
    module = nn.ModuleList([every, special] if num_special else [every])

    def losses(rows: torch.Tensor, share: slice, generator: torch.Generator) -> dict[str, torch.Tensor]:
        noise, x = 0.1 * torch.randn(len(rows), generator=generator)[share], X[rows[share]]
        predictions = every(x)[:, 0]
        if len(some := (rows[share] < num_special).nonzero()[:, 0]):
            predictions = predictions.index_add(0, some, special(x[some])[:, 0])
        return {"loss": (predictions - Y[rows[share]] - noise).square()}

    training = Training(module=module, losses=losses, rows=torch.arange(50), loop=loop, seed=7, validate=validate)
    return module, fit(training, context)


def test_the_same_seed_gives_the_same_weights_and_history(tmp_path: Path) -> None:
    first, history = _train(_context(tmp_path / "a"), dropout=0.3)
    second, again = _train(_context(tmp_path / "b"), dropout=0.3)
    assert history == again
    assert json.loads((tmp_path / "a/artefact/history.json").read_text()) == history
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, history = _train(_context(tmp_path / "whole"), dropout=0.3)
    with pytest.raises(StageStopped, match="after epoch 2 of 5"):
        _train(_context(tmp_path / "parts", report=lambda epoch, of, metrics: epoch < 2), dropout=0.3)
    parts, resumed = _train(_context(tmp_path / "parts"), dropout=0.3)
    assert resumed == history
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), parts.parameters(), strict=True))


def test_what_is_interrupted_at_any_step_goes_on_with_the_next(tmp_path: Path) -> None:
    """A notice after each of 30 random steps of the 20 epochs of 4; no step is done twice, and weights are equal."""
    loop, asked = replace(LOOP, num_epochs=20), [0]
    whole, history = _train(_context(tmp_path / "whole"), loop, dropout=0.3)
    at = sorted(random.Random(5).sample(range(1, 80), 30))

    def leaving() -> bool:
        asked[0] += 1
        return asked[0] in at

    stops = 0
    while stops < 60:
        try:
            parts, resumed = _train(_context(tmp_path / "parts", leaving=leaving), loop, dropout=0.3)
            break
        except StageStopped as stopped:
            assert "its machine is taken away" in str(stopped)
            stops += 1
    # A notice at an epoch's last step comes to nothing: its checkpoint is written anyhow.
    assert stops == sum(step % 4 > 0 for step in at) and asked[0] == 80
    assert resumed == history
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), parts.parameters(), strict=True))


def test_golden_loss_curve(tmp_path: Path) -> None:
    """A change that should not alter results must not alter this curve (float32, so to 1e-4)."""
    _, history = _train(_context(tmp_path))
    assert [entry["loss"] for entry in history] == pytest.approx(GOLDEN, abs=1e-4)


def test_nan_ends_the_training_with_a_clear_error(tmp_path: Path) -> None:
    module = nn.Linear(4, 1)

    def losses(rows: torch.Tensor, share: slice, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"loss": module(X[rows[share]])[:, 0] * float("nan")}

    with pytest.raises(NonFiniteError, match="epoch 1 of 5.*learning rate"):
        fit(Training(module=module, losses=losses, rows=torch.arange(50), loop=LOOP, seed=7), _context(tmp_path))


def test_validation_keeps_the_best_epoch_and_patience_ends_the_training(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []
    scores = iter([3.0, 1.0, 2.0, 2.0, 2.0])

    def validate(average: nn.Module) -> float:
        seen.append(next(average.parameters()).detach().clone())
        return next(scores)

    module, history = _train(_context(tmp_path), replace(LOOP, patience=2), validate=validate)
    assert [entry["valid_loss"] for entry in history] == [3.0, 1.0, 2.0, 2.0]
    assert torch.equal(next(module.parameters()), seen[1])


def test_generators_differ_by_purpose() -> None:
    draws = {float(torch.rand((), generator=seeded(1, *words))) for words in [("a",), ("b",), ("a", 0), ("a", 1)]}
    assert len(draws) == 4


def _worker(rank: int, world_size: int, folder: Path, all_done: Any) -> None:
    """A worker in a process of its own, which writes what it says to a file. When all have done it leaves without the
    interpreter's end, during which a thread of PyTorch that still runs would now and then abort it."""
    log = os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    context = _context(folder / str(rank), rank=rank, world_size=world_size)
    loop = replace(LOOP, patience=5)
    _, history = _train(context, loop, dropout=0.3, validate=lambda average: float(rank), num_special=NUM_SPECIAL)
    assert {entry["valid_loss"] for entry in history} == {0.0}, "all go by what the first worker finds"
    all_done.wait()
    os._exit(0)


def _run_group(folder: Path, world_size: int) -> None:
    """Run the workers, none of them in this process; one that fails ends the others, and what each said is shown."""
    spawn = mp.get_context("spawn")
    arguments = (world_size, folder, spawn.Barrier(world_size))
    workers = [spawn.Process(target=_worker, args=(rank, *arguments), daemon=True) for rank in range(world_size)]
    for worker in workers:
        worker.start()
    while running := [worker.sentinel for worker in workers if worker.is_alive()]:
        connection.wait(running)
        if any(worker.exitcode for worker in workers):
            for worker in workers:
                worker.kill()
    codes = [worker.exitcode for worker in workers]
    said = "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))
    assert codes == [0] * world_size, f"{codes}\n{said}"


@pytest.mark.slow
def test_workers_give_the_loss_curve_of_one(tmp_path: Path) -> None:
    """50 clips in batches of 16 leave a last batch of 2: shares are uneven too, and with 3 workers one of them is
    empty; in some of them a layer is of no use to any worker. Sums of float32 in another order differ by 1e-6 of losses
    of about 5."""
    _, alone = _train(_context(tmp_path / "alone"), dropout=0.3, num_special=NUM_SPECIAL)
    for size in (2, 3):
        (folder := tmp_path / str(size)).mkdir()
        _run_group(folder, size)
        together = json.loads((folder / "0/artefact/history.json").read_text())
        assert [e["loss"] for e in together] == pytest.approx([e["loss"] for e in alone], rel=1e-6)


def test_training_patterns_are_drawn_per_clip_and_leave_something() -> None:
    """Seven patterns with equal chance over 7,000 clips: each 1,000 times, to four deviations (29 each)."""
    recorded = torch.ones(7000, 3, dtype=torch.bool)
    drawn = training_patterns(recorded, seeded(0, "patterns"))
    counts = drawn.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 7 and ((counts - 1000).abs() < 120).all()
    only_l = torch.tensor([[True, False, False]]).expand(500, 3)
    assert torch.equal(training_patterns(only_l, seeded(1, "patterns")), only_l)

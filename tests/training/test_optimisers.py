"""Adversaries in the training loop: each minimises its own loss over its own parameters, and can be resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.errors import NonFiniteError, StageStopped
from imer_ray.stages.context import Context
from imer_ray.training.loop import Losses, Training, fit
from imer_ray.training.optimisers import make_players, optimiser_tensors, restore_optimisers

LOOP = LoopConfig(num_epochs=4, batch_size=16, learning_rate=1e-2, weight_decay=0.0, ema_decay=0.9)
X = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))


def _context(folder: Path, **changes: object) -> Context:
    for name in ("artefact", "checkpoint"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context(folder=folder / "artefact", checkpoint=folder / "checkpoint", **changes)


def _adversaries() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"generator": nn.Linear(4, 4), "discriminator": nn.Linear(4, 1)})


def _training(model: nn.Module, losses: Losses, loop: LoopConfig, groups: Any) -> Training:
    return Training(module=model, losses=losses, rows=torch.arange(48), loop=loop, seed=7, groups=groups)


def _train(context: Context, weights: tuple[float, float] = (1.0, 1.0), loop: LoopConfig = LOOP) -> tuple:
    """Both losses hang on both players' parameters; ``weights`` scale them."""
    model = _adversaries()

    def losses(rows: torch.Tensor, share: slice, generator: torch.Generator) -> dict[str, torch.Tensor]:
        score = model["discriminator"](model["generator"](X[rows[share]]))[:, 0]
        real = model["discriminator"](X[rows[share]])[:, 0]
        return {"loss": weights[0] * -score, "discriminator_loss": weights[1] * (score - real).tanh()}

    own = {"loss": model["generator"].parameters(), "discriminator_loss": model["discriminator"].parameters()}
    history = fit(_training(model, losses, loop, own), context)
    return model, history


def _moved(model: nn.ModuleDict, name: str) -> bool:
    start = _adversaries()[name].state_dict()
    return not all(torch.equal(start[k], v) for k, v in model[name].state_dict().items())


@pytest.mark.parametrize(
    ("weights", "moved"), [((1.0, 0.0), {"generator"}), ((0.0, 1.0), {"discriminator"}), ((1.0, 1.0), None)]
)
def test_a_loss_moves_its_own_parameters_and_no_others(weights: tuple, moved: set | None, tmp_path: Path) -> None:
    """Published, the generator's optimiser held the discriminator, too, and taught it to take fakes for real."""
    model, _ = _train(_context(tmp_path), weights)
    assert {name for name in model if _moved(model, name)} == (moved or {"generator", "discriminator"})


def test_players_see_each_others_weights_of_the_step_before(tmp_path: Path) -> None:
    """Simultaneous: with a linear D, the first step of the generator does not depend on what D's loss is."""
    one_batch = replace(LOOP, num_epochs=1, batch_size=48, ema_decay=0.0)
    ends = []
    for scale in (0.0, 1.0):
        model = _adversaries()

        def losses(rows: torch.Tensor, share: slice, generator: torch.Generator, scale=scale, model=model) -> dict:
            score = model["discriminator"](model["generator"](X[rows[share]]))[:, 0]
            return {"discriminator_loss": scale * score, "loss": -score}

        own = {"discriminator_loss": model["discriminator"].parameters(), "loss": model["generator"].parameters()}
        fit(_training(model, losses, one_batch, own), _context(tmp_path / str(scale)))
        ends.append(model["generator"].weight.detach())
    assert torch.equal(*ends)


def test_one_group_of_all_is_the_ordinary_training(tmp_path: Path) -> None:
    ends = []
    for name in ("groups", "none"):
        model = _adversaries()

        def losses(rows: torch.Tensor, share: slice, generator: torch.Generator, model=model) -> dict:
            return {"loss": model["discriminator"](model["generator"](X[rows[share]]))[:, 0].square()}

        groups = {"loss": model.parameters()} if name == "groups" else None
        ends.append((fit(_training(model, losses, LOOP, groups), _context(tmp_path / name)), model))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(p, q) for p, q in zip(ends[0][1].parameters(), ends[1][1].parameters(), strict=True))


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, history = _train(_context(tmp_path / "whole"))
    with pytest.raises(StageStopped):
        _train(_context(tmp_path / "parts", report=lambda epoch, of, metrics: epoch < 2))
    parts, resumed = _train(_context(tmp_path / "parts"))
    assert resumed == history
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), parts.parameters(), strict=True))


def test_the_restored_state_lies_where_the_parameters_do() -> None:
    """Checkpoints are read on the CPU. The fused optimiser makes its step counts on the parameters' device, too."""
    (source,) = make_players(model := _adversaries(), None, LOOP)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    source.step(1e-2, 1.0)
    players = make_players(elsewhere := _adversaries().to("meta"), None, LOOP)
    restore_optimisers(players, optimiser_tensors([source]))
    state = players[0].optimiser.state
    for parameter in elsewhere.parameters():
        found = {name: value.device for name, value in state[parameter].items()}
        assert found == dict.fromkeys(("step", "exp_avg", "exp_avg_sq"), parameter.device)


@pytest.mark.parametrize("change", ["shared", "left out"])
def test_groups_must_be_disjoint_and_hold_all_that_trains(change: str, tmp_path: Path) -> None:
    model = _adversaries()
    first = list(model.parameters()) if change == "shared" else list(model["generator"].parameters())[:1]
    groups = {"loss": first, "discriminator_loss": model["discriminator"].parameters()}
    with pytest.raises(ValueError, match="exactly one group"):
        fit(_training(model, lambda *_: {}, LOOP, groups), _context(tmp_path))


def test_a_player_that_diverges_is_named(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="the discriminator_loss became nan in epoch 1 of 4"):
        _train(_context(tmp_path), (1.0, float("nan")), replace(LOOP, batch_size=48))

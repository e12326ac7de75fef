"""How unfinished trainings are compared: a number that changes nothing, in a unit that all configurations share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imer_ray.config import build, option, options
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS, from_x0
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.time_grid import nodes_at
from imer_ray.errors import NonFiniteError, StageStopped
from imer_ray.training import rungs
from imer_ray.training.context import Context
from imer_ray.training.denoising_error import NOISE_LEVELS, denoising_error
from imer_ray.training.latents import Latents
from imer_ray.training.loop import fit, summary

SDES = options("diffusion/sde")
CLIPS = 600
SETTINGS = {"num_epochs": 6, "batch_size": 16, "learning_rate": 1e-2, "weight_decay": 0.0, "clip_norm": 1.0}
SETTINGS |= {"ema_decay": 0.9, "patience": 0}


class Ideal:
    """The network whose output stands for E[x_0 | x_t] of standard normal data that do not depend on the condition."""

    scale_input = False

    def __init__(self, sde: Any, parametrization: str) -> None:
        self.sde, self.parametrization = sde, parametrization

    def condition(self, *given: Any) -> None:
        return None

    def __call__(self, x: torch.Tensor, t: torch.Tensor, cache: None) -> torch.Tensor:
        alpha_t, sigma_t = marginal_at(self.sde, float(t[0]))
        return from_x0(self.parametrization, alpha_t * x / (alpha_t**2 + sigma_t**2), x, alpha_t, sigma_t)


def error_of(name: str, parametrization: str = "v") -> float:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(CLIPS, 3, 4, 5, generator=generator, dtype=torch.float64)
    latents = Latents(x, torch.ones(x.shape[:3], dtype=torch.bool), torch.ones(CLIPS, 3).bool(), torch.zeros(CLIPS))
    node = option("diffusion/sde", name)
    config = {"diffusion": {"sde": node, "parametrization": parametrization, "sigma_data": 1.0}}
    available = torch.tensor([True, False, True]).expand(CLIPS, 3)
    network = Ideal(build(node), parametrization)
    return denoising_error(network, config, latents, torch.arange(CLIPS), 1, available, generator)


@pytest.mark.parametrize("name", SDES)
def test_every_process_has_the_noise_levels(name: str) -> None:
    found = [node.ratio for node in nodes_at(build(option("diffusion/sde", name)), NOISE_LEVELS)]
    assert found == pytest.approx(NOISE_LEVELS, rel=1e-6)


@pytest.mark.parametrize("name", SDES)
def test_the_exact_denoiser_has_the_same_error_on_every_process(name: str) -> None:
    """For standard normal data it is r^2 / (1 + r^2); 36,000 numbers have a standard error of 0.4 % of that.

    The noise is the same for all, and so is the error, but for the bisection that finds the times."""
    assert error_of(name) == pytest.approx(sum(r**2 / (1 + r**2) for r in NOISE_LEVELS) / len(NOISE_LEVELS), rel=0.02)
    assert error_of(name) == pytest.approx(error_of("vp"), rel=1e-5)


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_and_with_every_parametrization(parametrization: str) -> None:
    assert error_of("ve", parametrization) == pytest.approx(error_of("ve", "x0"), rel=1e-6)


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
    history = fit(module, losses, torch.arange(50), SETTINGS, made, 7, measure, compared=("task_loss", measure))
    return module, history


def test_comparing_changes_neither_weights_nor_losses(tmp_path: Path) -> None:
    plain, history = train(tmp_path / "plain")
    watched, compared = train(tmp_path / "watched", rungs=(2, 4, 8))
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), watched.parameters(), strict=True))
    assert [epoch for epoch, values in enumerate(compared, 1) if rungs.entry("task_loss") in values] == [2, 4]
    assert [{k: v for k, v in values.items() if k != rungs.entry("task_loss")} for values in compared] == history
    assert set(summary(compared)) - set(summary(history)) == {"rung.task_loss.2", "rung.task_loss.4"}
    assert {k: summary(compared)[k] for k in summary(history)} == summary(history)


def test_all_rungs_so_far_are_reported_also_by_a_training_that_was_resumed(tmp_path: Path) -> None:
    told: dict[int, list[tuple[str, int, float]]] = {}

    def until(last: int) -> Any:
        def report(epoch: int, num_epochs: int, metrics: Any) -> bool:
            told[epoch] = rungs.read(metrics)
            return epoch < last

        return report

    with pytest.raises(StageStopped):
        train(tmp_path / "parts", until(3), rungs=(2, 4))
    train(tmp_path / "parts", until(9), rungs=(2, 4))
    _, whole = train(tmp_path / "whole", rungs=(2, 4))
    assert [[epoch for _, epoch, _ in told[n]] for n in range(1, 7)] == [[], [2], [2], [2, 4], [2, 4], [2, 4]]
    assert told[6] == [("task_loss", n, whole[n - 1][rungs.entry("task_loss")]) for n in (2, 4)]
    assert rungs.count(rungs.reported(whole)) == 2


def test_nothing_is_compared_after_the_last_epoch(tmp_path: Path) -> None:
    _, history = train(tmp_path, rungs=(6,))
    assert rungs.reported(history) == {}


def test_a_comparison_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="task_loss became nan in epoch 2"):
        train(tmp_path, value=float("nan"), rungs=(2,))

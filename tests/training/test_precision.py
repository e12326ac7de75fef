"""Training in half precision: what is kept stays fp32, and it learns what single precision learns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from experiments import changed, experiment
from torch import nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.errors import StageStopped
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training import checkpoint
from imer_ray.training.loop import Training, fit

LOOP = LoopConfig(num_epochs=6, batch_size=16, learning_rate=1e-2, weight_decay=0.0, ema_decay=0.9)
HALF = replace(LOOP, precision="bf16")
X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Y = (X @ torch.linspace(-1, 1, 8)).tanh()


def train(folder: Path, loop: LoopConfig, stops_after: int = 99, draws_first: bool = False) -> tuple[nn.Module, list]:
    (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    seen = set()

    def losses(rows: torch.Tensor, share: slice, generator: torch.Generator) -> dict[str, torch.Tensor]:
        if draws_first:
            with torch.no_grad():
                module(X[rows[share]])
        predictions = module(X[rows[share]])[:, 0]
        seen.add(predictions.dtype)
        return {"loss": (predictions - Y[rows[share]]).square()}

    def validate(average: nn.Module) -> float:
        predictions = average(X)[:, 0]
        assert predictions.dtype == torch.float32
        return float((predictions - Y).square().mean())

    context = Context(folder=folder, checkpoint=folder / "checkpoint", report=lambda epoch, *_: epoch < stops_after)
    training = Training(module=module, losses=losses, rows=torch.arange(64), loop=loop, seed=7, validate=validate)
    history = fit(training, context)
    assert seen == {torch.bfloat16 if loop.precision == "bf16" else torch.float32}
    return module, history


def test_weights_and_what_a_checkpoint_holds_are_fp32_and_the_loss_is_near_that_of_fp32(tmp_path: Path) -> None:
    """bfloat16 has 8 bits: 2^-8 of predictions around 1 moves a loss of some hundredths by a few percent."""
    (full, of_full), (half, of_half) = (train(tmp_path / loop.precision, loop) for loop in (LOOP, HALF))
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    tensors, _ = checkpoint.load(tmp_path / "bf16" / "checkpoint") or ({}, {})
    assert tensors and {t.dtype for t in tensors.values()} == {torch.float32}
    assert not torch.equal(half[0].weight, full[0].weight)
    assert of_half[-1]["loss"] < 0.5 * of_half[0]["loss"]
    assert of_half[-1]["valid_loss"] == pytest.approx(of_full[-1]["valid_loss"], rel=0.1)


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, history = train(tmp_path / "whole", HALF)
    with pytest.raises(StageStopped):
        train(tmp_path / "parts", HALF, stops_after=2)
    parts, resumed = train(tmp_path / "parts", HALF)
    assert resumed == history
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), parts.parameters(), strict=True))


def test_what_is_drawn_without_a_gradient_before_takes_none_from_the_losses(tmp_path: Path) -> None:
    """As a sampler within a training does. Autocast would give the losses the copies of the weights that it has."""
    alone, after = (train(tmp_path / str(draws), HALF, draws_first=draws)[0] for draws in (False, True))
    assert all(torch.equal(p, q) for p, q in zip(alone.parameters(), after.parameters(), strict=True))


def keys(*words: str) -> dict[str, str]:
    return {stage.name: stage.key for stage in graph(experiment(*words, fingerprint="clips"), "valid").in_order()}


def test_results_of_before_there_was_a_choice_stay_those_of_fp32() -> None:
    """The slice of a stage is what it was; bf16 makes another stage of it, and of what stands on it."""
    for stage in graph(experiment(), "valid").in_order():
        sections = stage.config.get("training", {})
        assert all("precision" not in loop for loop in sections.values() if isinstance(loop, dict)), stage.name
    before, after = keys(), keys("training.recognise.precision=bf16")
    assert {name for name in before if before[name] != after[name]} == {"recognise", "evaluate"}


SMALL = ("data.num_train=24", "data.num_valid=12", "data.num_test=12", "data.num_frames=9", "encoder.latent_dim=16")
TRAININGS = ("encode", "pretrain", "distill", "impute", "recognise", "joint", "fuse", "classify")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("distill.method=reflow", "loss.recovery=0.5", "loss.distillation=0.7", "loss.ranking=0.3"),
        ("system=rohydr", "distill.method=consistency", "diffusion.sharing=shared", "diffusion.prior=mixture"),
        ("system=imder", "fusion=mult"),
        ("system=autoencoder",),
        ("system=flow_transfer",),
        ("system=masked", "protocol=frames"),
    ],
    ids=lambda words: words[0],
)
def test_every_training_works_in_half_precision(words: tuple[str, ...], tmp_path: Path) -> None:
    """One epoch of each; what is trained differs from what fp32 trains, and its loss is near. It takes two steps: what
    begins as zero has the same first loss in any precision."""
    sizes = {f"training.{name}.num_epochs": 1 for name in TRAININGS} | {"bank.num_steps": 2, "diffusion.num_steps": 2}
    sizes |= {f"training.{name}.batch_size": 12 for name in TRAININGS}
    full = changed(experiment(*SMALL, *words), sizes)
    half = changed(full, {f"training.{name}.precision": "bf16" for name in TRAININGS})
    store, found = Store(str(tmp_path)), []
    for config in (full, half):
        stages = [s for s in graph(config, "valid").in_order() if s.kind not in ("cost", "evaluate", "prior", "bank")]
        found.append({stage.name: metrics(store, stage) for stage in stages})
    for name, of_full in found[0].items():
        loss = found[1][name].get("train_loss", math.nan)
        assert loss != of_full["train_loss"], name
        assert loss == pytest.approx(of_full["train_loss"], rel=0.1, abs=0.05), name


def metrics(store: Store, stage: Stage) -> dict[str, float]:
    return dict(run_graph(stage, store)[-1].metrics)

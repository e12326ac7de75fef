"""A step of a training asks a GPU for no value: losses are read once an epoch, and clips are sent, not waited for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
import torch
from experiments import experiment
from pretended_gpu import GPU, Gpu, pretended_gpu

from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import load_function
from imer_ray.systems import graph
from imer_ray.training.loop import Run

TRAININGS = ("encode", "pretrain", "distill", "impute", "recognise", "joint", "fuse", "classify")
SMALL = (
    *("data.num_train=24", "data.num_valid=12", "data.num_test=12", "data.num_frames=9", "encoder.latent_dim=16"),
    *("bank.num_steps=1", "diffusion.num_steps=2", "distill.num_steps=2", "distill.num_draws=1"),
    *("diffusion.condition_dropout=0.1", "encoder.dropout=0.2"),
    *(f"training.{stage}.num_epochs=1" for stage in TRAININGS),
    *(f"training.{stage}.batch_size=12" for stage in TRAININGS),
)
LOSSES = ("loss.recovery=0.5", "loss.distillation=0.7", "loss.ranking=0.3")
MULT = ("fusion=mult", "fusion.attn_dropout=0.2", "fusion.attn_dropout_a=0.3")
RUNS = {
    "per modality": LOSSES,
    "shared": ("diffusion.sharing=shared", "diffusion.backbone=dit", "diffusion.backbone.dropout=0.1"),
    "on a prior": ("diffusion.prior=gaussian", "diffusion.prior.ranks=[4]", "diffusion.backbone=concat"),
    "reflow": ("distill.method=reflow", "diffusion.backbone=mixer"),
    "rohydr": ("system=rohydr", "distill.method=consistency", "diffusion.backbone=imder_unet", *MULT),
    "rohydr, shared": ("system=rohydr", "diffusion.sharing=shared", "distill.method=consistency"),
    "autoencoder": ("system=autoencoder",),
    "flow_transfer": ("system=flow_transfer",),
}


def run(stage: Stage, root: Path, gpu: Gpu) -> Counter[str]:
    """Run a stage on the pretended GPU, its inputs beside it; how often the steps of its training waited."""
    folder = root / stage.key
    (folder / "checkpoint").mkdir(parents=True)
    inputs = {role: root / source.key for role, source in stage.inputs.items()}
    context = Context(folder=folder, checkpoint=folder / "checkpoint", inputs=inputs, device=str(GPU))
    step, found = Run._step, Counter[str]()

    def watched(own: Run, batch: torch.Tensor) -> bool:
        before = Counter(gpu.waits)
        leaves = step(own, batch)
        found.update({"steps": 1, **(gpu.waits - before)})
        return leaves

    with mock.patch.object(Run, "_step", watched):
        load_function(stage.function)(stage.settings, context)
    return found


def waits(root: Path, *words: str) -> dict[str, Counter[str]]:
    """Of every stage that trains, how many steps it took and how often these waited."""
    found = {}
    with pretended_gpu() as gpu:
        for stage in graph(experiment(*SMALL, *words), "valid").in_order():
            if stage.kind not in ("cost", "evaluate"):
                found[stage.name] = run(stage, root, gpu)
    return {name: of_stage for name, of_stage in found.items() if of_stage}


def test_a_step_on_complete_and_on_incomplete_clips_waits_for_nothing(tmp_path: Path) -> None:
    found = waits(tmp_path, "system=masked")
    assert found == {"encode": {"steps": 2}, "recognise": {"steps": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_no_step_of_any_training_waits(name: str, tmp_path: Path) -> None:
    found = waits(tmp_path, *RUNS[name])
    assert len(found) > 1
    assert {stage: of_stage for stage, of_stage in found.items() if of_stage.keys() != {"steps"}} == {}


@pytest.mark.slow
def test_a_sampler_within_a_training_waits_no_more_often_with_more_steps(tmp_path: Path) -> None:
    """Which clips miss which modality is asked for, once a step of the training."""
    words = ("system=imder", "diffusion.backbone=transformer", "diffusion.sampler=euler_maruyama")
    few, many = (waits(tmp_path / str(n), *words, f"diffusion.num_steps={n}")["joint"] for n in (2, 5))
    assert few == many and few["steps"] == 2

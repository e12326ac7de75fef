"""The stage `distill`: what it shares with other trials, and small runs from clips to metrics."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from experiments import changed, experiment
from safetensors.torch import load_file
from torch import nn

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Distill
from imer_ray.errors import StageStopped, UserError
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems.decoupled import graph
from imer_ray.tasks.distill import Clips, consistency_losses, reflow_losses, run
from imer_ray.training.denoising import Process
from imer_ray.training.latents import Latents

METHODS = ("reflow", "consistency")
PRETRAINED = {"pretrain[l]", "pretrain[a]", "pretrain[v]"}
DISTILLED = {"distill[l]", "distill[a]", "distill[v]"}
SMALL = [
    *("data.num_train=64", "data.num_valid=32", "data.num_test=16", "bank.num_steps=1", "diffusion.backbone=mixer"),
    *(f"training.{stage}.num_epochs=1" for stage in ("encode", "recognise")),
    *(
        f"training.{stage}.{setting}"
        for stage in ("pretrain", "distill")
        for setting in ("num_epochs=15", "batch_size=32")
    ),
    *("distill.num_steps=6", "diffusion.num_steps=1"),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=4"),
]


def _config(*overrides: str) -> ExperimentConfig:
    return experiment(*SMALL, *overrides)


def _stages(config: ExperimentConfig) -> dict[str, Stage]:
    return {stage.name: stage for stage in graph(config, "valid").in_order()}


def _changed(before: dict[str, Stage], after: dict[str, Stage]) -> set[str]:
    return {name for name in before.keys() | after.keys() if _key(before, name) != _key(after, name)}


def _key(stages: dict[str, Stage], name: str) -> str | None:
    return stages[name].key if name in stages else None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("stages")))


@pytest.mark.parametrize("method", METHODS)
def test_distillation_costs_its_stages_and_an_evaluation(method: str) -> None:
    assert _changed(_stages(_config()), _stages(_config(f"distill.method={method}"))) == DISTILLED | {"evaluate"}


@pytest.mark.parametrize(
    ("method", "changes", "recomputed"),
    [
        ("none", {"distill.num_steps": 9, "distill.num_draws": 2, "training.distill.num_epochs": 3}, set()),
        ("reflow", {"distill.target_decay": 0.5}, set()),
        ("consistency", {"distill.num_draws": 2}, set()),
        ("reflow", {"distill.num_draws": 2}, DISTILLED | {"evaluate"}),
        ("consistency", {"distill.target_decay": 0.5}, DISTILLED | {"evaluate"}),
        ("consistency", {"training.distill.num_epochs": 3}, DISTILLED | {"evaluate"}),
        ("consistency", {"diffusion.sampler": "heun"}, {"cost", "evaluate"}),
        ("reflow", {"diffusion.sde": "ve"}, PRETRAINED | DISTILLED | {"bank", "recognise", "evaluate"}),
    ],
)
def test_a_setting_recomputes_what_reads_it(method: str, changes: dict, recomputed: set[str]) -> None:
    base = _config(f"distill.method={method}")
    assert _changed(_stages(base), _stages(changed(base, changes))) == recomputed


def test_a_bank_of_the_trials_own_sampler_is_of_its_own_networks() -> None:
    reference, same = (_stages(_config("distill.method=reflow", f"bank.mode={mode}")) for mode in ("reference", "same"))
    assert reference["bank"].inputs["network_a"].name == "pretrain[a]"
    assert same["bank"].inputs["network_a"].name == "distill[a]"


@pytest.mark.parametrize(
    "setting", ["distill.method=progressive", "distill.num_steps=1", "distill.num_draws=0", "distill.target_decay=1"]
)
def test_what_cannot_be_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match="distill"):
        _config(setting)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "sharing", "names"),
    [("reflow", "per_modality", DISTILLED), ("consistency", "shared", {"distill[shared]"})],
)
def test_a_students_one_step_comes_nearer_to_where_its_teachers_ode_leads(
    method: str, sharing: str, names: set[str], store: Store
) -> None:
    overrides = (f"distill.method={method}", f"diffusion.sharing={sharing}", "diffusion.condition_dropout=0.1")
    config = _config(*overrides)
    results = {result.name: result for result in run_graph(graph(config, "valid"), store)}
    assert {name for name in results if name.startswith("distill")} == names
    for name in names:
        metrics = results[name].metrics
        assert metrics["valid_loss"] < 0.5 * metrics["teacher_valid_loss"]
    assert results["evaluate"].metrics["nfe"] == 1
    assert 0 <= results["evaluate"].metrics["valid.la.Non0_acc_2"] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_two_workers_see_the_losses_that_one_would(method: str) -> None:
    config = _config(f"distill.method={method}", "diffusion.sharing=shared", "diffusion.condition_dropout=0.5")
    generator = torch.Generator().manual_seed(0)
    x, recorded = torch.randn(6, 3, 4, 32, generator=generator), torch.ones(6, 3, dtype=torch.bool)
    latents = Latents(x, recorded[..., None].expand(6, 3, 4), recorded, torch.zeros(6))
    torch.manual_seed(0)
    read = Distill.read(_stages(config)["distill[shared]"].settings)
    teacher = read.diffusion.backbone.build().build(read.encoder.build().latent_dim, 4, None)
    for parameter in teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # its last layers start at zero
    module = nn.ModuleDict({"student": copy.deepcopy(teacher)})
    losses = {"reflow": reflow_losses, "consistency": consistency_losses}[method](
        read, Process.of(read.diffusion), module, teacher.requires_grad_(False), Clips.of(latents, range(3))
    )
    whole, first, rest = (
        losses(torch.arange(18), share, torch.Generator().manual_seed(1))["loss"]
        for share in (slice(None), slice(0, 7), slice(7, 18))
    )
    torch.testing.assert_close(torch.cat([first, rest]), whole)
    assert whole.sum() > 0  # not of each clip: at the last step a student that is its teacher is right


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_distillation_ends_as_if_it_had_not_been(method: str, store: Store, tmp_path: Path) -> None:
    """The targets of a consistency student are weights of their own; they must survive too."""
    overrides = ("training.distill.num_epochs=3", "distill.num_steps=3")
    stages = _stages(_config(f"distill.method={method}", *overrides))
    stage = stages["distill[v]"]
    run_graph(stage.inputs["teacher"], store)
    inputs = {role: store.open(source.key).folder for role, source in stage.inputs.items()}

    def at(name: str, last: int = 3) -> Context:
        (folder := tmp_path / name).mkdir(exist_ok=True)
        (checkpoint := tmp_path / f"{name}-checkpoint").mkdir(exist_ok=True)
        return Context(
            folder=folder, inputs=inputs, checkpoint=checkpoint, report=lambda epoch, *_: epoch != last or last == 3
        )

    run(stage.settings, at("whole"))
    with pytest.raises(StageStopped):
        run(stage.settings, at("killed", last=1))
    run(stage.settings, at("killed"))
    whole, killed = (load_file(tmp_path / name / "network_v.safetensors") for name in ("whole", "killed"))
    for name, tensor in whole.items():
        torch.testing.assert_close(killed[name], tensor, rtol=0, atol=0)

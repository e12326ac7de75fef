"""Shared networks and guidance in the graphs: which stages there are, what a change costs, and small runs."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from pathlib import Path

import pytest
from experiments import changed, experiment

import imer_ray.systems
from imer_ray.config.components import Component
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Evaluate
from imer_ray.errors import UserError
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.loaders import load_filling, load_model

SYSTEMS = [m.name for m in pkgutil.iter_modules(imer_ray.systems.__path__) if not m.name.startswith("_")]
GUIDED = ("diffusion.condition_dropout=0.2", "diffusion.guidance=2.0")
SMALL = (
    *("data.num_train=64", "data.num_valid=48", "data.num_test=48", "bank.num_steps=2", "diffusion.num_steps=2"),
    *(f"training.{stage}.num_epochs=1" for stage in ("encode", "pretrain", "recognise", "joint")),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=4"),
)


def _config(*overrides: str) -> ExperimentConfig:
    return experiment(*SMALL, *overrides)


def _graph(config: ExperimentConfig) -> Stage:
    return graph(config, "valid")


def _keys(config: ExperimentConfig) -> dict[str, str]:
    return {stage.name: stage.key for stage in _graph(config).in_order()}


def test_a_shared_network_is_one_stage_in_place_of_three() -> None:
    names = [stage.name for stage in _graph(_config("diffusion.sharing=shared")).in_order()]
    assert sorted(names) == ["bank", "cost", "encode", "evaluate", "pretrain[shared]", "recognise"]


@pytest.mark.parametrize(
    ("mode", "path", "value", "recomputed"),
    [
        ("reference", "guidance", 3.0, {"evaluate"}),  # as dear as another guidance
        ("same", "guidance", 3.0, {"bank", "recognise", "evaluate"}),
        ("reference", "condition_dropout", 0.3, {"pretrain[shared]", "bank", "recognise", "evaluate"}),
    ],
)
def test_guidance_is_paid_at_inference_and_dropout_in_training(
    mode: str, path: str, value: float, recomputed: set[str]
) -> None:
    base = _config("diffusion.sharing=shared", f"bank.mode={mode}", *GUIDED)
    before, after = _keys(base), _keys(changed(base, {f"diffusion.{path}": value}))
    assert {name for name in before if before[name] != after[name]} == recomputed


def test_a_shared_guided_system_runs_from_clips_to_metrics(tmp_path: Path) -> None:
    config, store = _config("diffusion.sharing=shared", *GUIDED), Store(str(tmp_path))
    final = _graph(config)
    metrics = run_graph(final, store)[-1].metrics
    assert metrics["nfe"] == 2 * 2 * 1  # with and without condition, two steps, one draw
    assert all(0 <= metrics[f"valid.{p}.Non0_acc_2"] <= 1 for p in ("l", "a", "v", "la", "lv", "av"))
    inputs = {role: store.open(stage.key).folder for role, stage in final.inputs.items()}
    context = Context(folder=tmp_path, checkpoint=tmp_path, inputs=inputs)
    parts = Parts.of(Evaluate.read(final.settings))
    recovery = load_filling(parts, context, 8)
    assert len(recovery.networks) == 1 and recovery.guidance == 2.0
    assert load_model(parts, context).recovery is not None


@pytest.mark.parametrize("overrides", [("diffusion.sharing=shared", *GUIDED), GUIDED], ids=["shared", "per_modality"])
def test_joint_training_shares_and_drops_conditions_too(overrides: tuple[str, ...], tmp_path: Path) -> None:
    config = _config("system=imder", *overrides)
    assert run_graph(_graph(config), Store(str(tmp_path)))[-1].metrics["nfe"] == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("diffusion.guidance=2",), "guidance=2 needs a network that was also trained without.*condition_dropout"),
        (("diffusion.guidance=0",), "guidance=0 needs"),
        (("diffusion.guidance=-1", "diffusion.condition_dropout=0.1"), "guidance must be 0 or positive"),
        (("diffusion.condition_dropout=1.0",), r"condition_dropout must be in \[0, 1\)"),
        (("diffusion.sharing=shared", "diffusion.backbone=imder_unet"), "imder_unet is one network per modality"),
        (("diffusion.sharing=both",), "sharing=both"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_composed(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _config(*overrides)


def test_no_key_depends_on_where_our_code_lies() -> None:
    for system in SYSTEMS:
        for stage in _graph(_config(f"system={system}")).in_order():
            assert "imer_ray." not in json.dumps(stage.config)
            assert dataclasses.replace(stage, function="imer_ray.elsewhere:run").key == stage.key


def test_a_component_of_another_package_is_told_from_ours_of_the_same_name() -> None:
    ours = _config()
    fusion = Component(name=ours.fusion.name, target="my_lab.fusion.Fusion", settings=ours.fusion.settings)
    theirs = dataclasses.replace(ours, fusion=fusion)
    assert set(_keys(ours).values()).isdisjoint(_keys(theirs)[name] for name in ("encode", "recognise", "evaluate"))

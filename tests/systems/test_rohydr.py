"""The system rohydr as a whole: what shares what, which weights are refused, and a run that learns something."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import changed, experiment, of_model

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of
from imer_ray.config.slices import Evaluate
from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import load, save
from imer_ray.evaluation.predict import Inference, predict_protocol
from imer_ray.models.model import Recogniser
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import rohydr
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model, load_shape
from imer_ray.tuning.space.file import load as load_space

SMALL = [
    *("system=rohydr", "data.num_train=300", "data.num_valid=400", "data.num_test=24"),
    *("bank.num_steps=2", "diffusion.num_steps=2", "diffusion.backbone=mixer"),
    *("training.encode.num_epochs=12", "training.fuse.num_epochs=4", "training.classify.num_epochs=2"),
    *("training.pretrain.num_epochs=3", "speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=4"),
]


def _config(*overrides: str) -> ExperimentConfig:
    return experiment(*SMALL, *overrides)


def _keys(config: ExperimentConfig) -> dict[str, str]:
    return {stage.name: stage.key for stage in rohydr.graph(config, "valid").in_order()}


RECOVER = {"recover[l]", "recover[a]", "recover[v]"}


@pytest.mark.parametrize(
    ("changes", "recomputed"),
    [
        ({"loss.lambda_c": 0.7}, {"classify", "evaluate"}),
        ({"training.classify.num_epochs": 9}, {"classify", "evaluate"}),
        ({"loss.lambda_al": 0.7}, {"fuse", "classify", "evaluate"}),
        ({"training.fuse.num_epochs": 9}, {"fuse", "classify", "evaluate"}),
        ({"bank.num_steps": 3}, {"bank", "fuse", "classify", "evaluate"}),
        ({"loss.lambda_g": 2.0}, {*RECOVER, "bank", "fuse", "classify", "evaluate"}),
        ({"diffusion.sde": "ve"}, {*RECOVER, "bank", "fuse", "classify", "evaluate"}),
        ({"diffusion.sampler": "heun"}, {"cost", "evaluate"}),
        ({"diffusion.num_steps": 4}, {"cost", "evaluate"}),
        ({"loss.recovery": 0.5}, set()),  # other systems' weights
        ({"loss.diffusion": 0.5}, set()),
        ({"training.recognise.num_epochs": 9}, set()),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "-".join(sorted(value)),
)
def test_a_loss_weight_costs_its_stage_and_what_follows(changes: dict[str, Any], recomputed: set[str]) -> None:
    base = _config()
    before, after = _keys(base), _keys(changed(base, changes))
    assert {name for name in before if before[name] != after[name]} == recomputed


def test_rohydr_shares_the_encoder_with_the_other_systems() -> None:
    from imer_ray.systems import decoupled

    config = _config()
    other = {stage.name: stage.key for stage in decoupled.graph(config, "valid").in_order()}
    assert _keys(config)["encode"] == other["encode"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.lambda_g=-0.1", r"loss: loss weights must not be negative or infinite: lambda_g is -0\.1"),
        ("loss.lambda_g=inf", "loss: loss weights must not be negative or infinite"),
        ("loss.lambda_al=1.1", r"loss: lambda_al must be in \[0, 1\], not 1\.1"),
        ("loss.lambda_al=-0.1", r"loss: lambda_al must be in \[0, 1\]"),
        ("loss.lambda_c=2", r"loss: lambda_c must be in \[0, 1\], not 2\.0"),
        ("loss.lambda_c=half", "loss.lambda_c must be float, not 'half'"),
        ("loss.lambda_d=0.5", "loss.lambda_d: unknown key or option; did you mean"),
    ],
)
def test_bad_weights_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _config(override)


def test_the_weights_are_searched_where_the_system_has_them(tmp_path: Path) -> None:
    path = tmp_path / "lambdas.yaml"
    path.write_text(
        "system: {choice: [decoupled, rohydr]}\n"
        "loss.lambda_g: {float: [0.1, 10], log: true, when: {system: rohydr}}\n"
        "loss.lambda_al: {float: [0, 1], when: {system: rohydr}}\n"
        "loss.lambda_c: {float: [0, 1], when: {system: rohydr}}\n"
        "loss.recovery: {float: [0, 1], when: {system: decoupled}}\n"
    )
    space = load_space(str(path), tree_of(_config()))
    lambdas = {"loss.lambda_g", "loss.lambda_al", "loss.lambda_c"}
    import random

    seen = set()
    for seed in range(20):
        values = space.sample(random.Random(seed))
        assert (values["system"] == "rohydr") == (lambdas <= values.keys()) == ("loss.recovery" not in values)
        seen.add(values["system"])
    assert seen == {"decoupled", "rohydr"}
    path.write_text("loss.lambda_c: {float: [0, 1.5]}\n")
    with pytest.raises(UserError, match=r"lambdas\.yaml:1: .*lambda_c must be in \[0, 1\], not 1\.5"):
        load_space(str(path), tree_of(_config()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentConfig, Store, dict[str, float]]:
    config, store = _config(), Store(str(tmp_path_factory.mktemp("stages")))
    return config, store, dict(run_graph(rohydr.graph(config, "valid"), store)[-1].metrics)


@pytest.mark.slow
def test_a_small_run_is_better_than_chance(run: tuple) -> None:
    """400 clips: chance has a standard error of 2.5 points; language alone is worth 30, {a, v} 20."""
    _, _, metrics = run
    assert all(math.isfinite(value) for value in metrics.values())
    for pattern in ("l", "la", "lv", "lav"):
        assert metrics[f"valid.{pattern}.Non0_acc_2"] > 0.65
    for pattern in ("a", "v", "av"):
        assert metrics[f"valid.{pattern}.Non0_acc_2"] > 0.53


def test_the_whole_model_is_evaluated_saved_and_read_back(run: tuple, tmp_path: Path) -> None:
    config, store, metrics = run
    stage = rohydr.graph(config, "valid")
    inputs = {role: store.open(s.key).folder for role, s in stage.inputs.items()}
    context = Context(folder=tmp_path, checkpoint=tmp_path, inputs=inputs)
    model = load_model(Parts.of(Evaluate.read(stage.settings)), context)
    assert isinstance(model.recogniser, Recogniser)
    assert model.recogniser.reconstructor is not None and model.recogniser.refiners is not None
    assert metrics["num_parameters"] == sum(p.numel() for p in model.parameters())
    save(tmp_path / "model", model, of_model(config), load_shape(context), load_dataset(config).statistics)
    again, _ = load(tmp_path / "model")
    dataset = load_dataset(config)
    how = (config.protocol.build(), Inference.of(config, config.diffusion), config.seed, "cpu")
    first, second = (predict_protocol(m, dataset, "valid", *how) for m in (model, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with torch.no_grad():
        again.recogniser.reconstructor.out.bias.add_(1.0)
    third = predict_protocol(again, dataset, "valid", *how)
    assert torch.equal(first["lav"], third["lav"])  # complete clips are read without R
    assert all(not torch.equal(first[name], third[name]) for name in first if name != "lav")

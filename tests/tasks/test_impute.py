"""The rivals' stages on small synthetic clips: what they recover, what their keys depend on, and a trained model's way
to the disk and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from experiments import changed, experiment, of_model

from imer_ray.config.experiment import ExperimentConfig, ModelConfig
from imer_ray.config.slices import Evaluate
from imer_ray.data.missing import PATTERNS
from imer_ray.evaluation.model_folder import load, save
from imer_ray.evaluation.predict import Inference, predictor
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_latents, load_model, load_shape
from imer_ray.training.losses import recovery_loss

RIVALS = ("mean", "regression", "autoencoder", "flow_transfer")
TRAINED = ("autoencoder", "flow_transfer")
SMALL = [
    *("data.num_train=300", "data.num_valid=100", "data.num_test=20", "encoder.latent_dim=8"),
    *("training.encode.num_epochs=3", "training.recognise.num_epochs=1", "training.impute.num_epochs=15"),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=2", "diffusion.num_draws=3"),
]


def _config(system: str, *overrides: str) -> ExperimentConfig:
    return experiment(*SMALL, f"system={system}", *overrides)


def _graph(config: ExperimentConfig) -> Stage:
    return graph(config, "valid")


def _keys(config: ExperimentConfig) -> dict[str, str]:
    return {stage.name: stage.key for stage in _graph(config).in_order()}


def _inputs(final: Stage, store: Store, folder: Path) -> Context:
    inputs = {role: store.open(stage.key).folder for role, stage in final.inputs.items() if role != "cost"}
    return Context(folder=folder, inputs=inputs, checkpoint=folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ModelConfig, Context]]:
    """{system: (configuration with its imputer, the artefacts of its stages)}."""
    folder = tmp_path_factory.mktemp("impute")
    store = Store(str(folder / "stages"))
    found = {}
    for system in RIVALS:
        config = _config(system)
        final = _graph(config)
        for role, stage in final.inputs.items():
            if role != "cost":
                run_graph(stage, store)
        found[system] = (of_model(config, Evaluate.read(final.settings).imputer), _inputs(final, store, folder))
    return found


@pytest.mark.slow
def test_regression_and_autoencoder_recover_better_than_the_mean_under_every_pattern(trained) -> None:
    errors: dict[str, dict[str, float]] = {}
    for system, (config, context) in trained.items():
        model, latents = load_model(Parts.of(config), context), load_latents(context, "valid")
        for name in ("l", "a", "v", "la", "lv", "av"):
            available = PATTERNS[name].expand(len(latents.x), -1)
            filled, _ = model.recovery(latents.x, available, latents.frames, None, 0, None)
            error = recovery_loss(filled, latents.x, ~available, latents.frames).mean()
            errors.setdefault(name, {})[system] = float(error)
    for name, error in errors.items():
        assert error["mean"] == pytest.approx(1.0, abs=0.25), "the latents' variance is 1"
        assert error["regression"] < 0.95 * error["mean"], name
        assert error["autoencoder"] < 0.95 * error["mean"], name


@pytest.mark.parametrize("system", RIVALS)
def test_a_saved_model_predicts_the_same(trained, system: str, tmp_path: Path) -> None:
    config, context = trained[system]
    model, dataset = load_model(Parts.of(config), context), load_dataset(config)
    save(tmp_path / "model", model, config, load_shape(context), dataset.statistics)
    again, kept = load(tmp_path / "model")
    batch = dataset.batch("test", torch.arange(20))
    refines = system != "mean"  # which has the recogniser of complete data
    assert (again.recogniser.refiners is not None) == refines
    for pattern in PATTERNS:
        predictions = [
            predictor(m, Inference.of_model(c), pattern, seed=0)(batch) for m, c in ((model, config), (again, kept))
        ]
        assert torch.equal(*predictions)


@pytest.mark.parametrize("system", RIVALS)
def test_nothing_is_computed_again_when_the_diffusion_changes(system: str) -> None:
    base = _config(system)
    changes = {"diffusion.sampler": "heun", "diffusion.num_steps": 3, "diffusion.num_draws": 2, "diffusion.sde": "ve"}
    changes |= {"diffusion.backbone": "mixer", "bank.mode": "same", "bank.num_draws": 2, "bank.num_steps": 3}
    assert _keys(changed(base, changes)) == _keys(base)


@pytest.mark.parametrize("system", RIVALS)
def test_what_is_trained_by_gradient_alone_depends_on_how(system: str) -> None:
    before, after = _keys(_config(system)), _keys(_config(system, "training.impute.num_epochs=41"))
    others = {name for name in before if before[name] != after[name]}
    assert others == ({"impute", "bank", "recognise", "evaluate"} if system in TRAINED else set())


@pytest.mark.parametrize("system", ["regression", *TRAINED])
def test_the_recogniser_is_trained_as_that_of_the_decoupled_diffusion(system: str) -> None:
    own, other = (
        next(s for s in _graph(_config(name)).in_order() if s.name == "recognise") for name in (system, "decoupled")
    )
    assert own.function == other.function and own.config == other.config
    assert own.inputs["encode"].key == other.inputs["encode"].key
    assert own.inputs["bank"].function == other.inputs["bank"].function


def test_the_mean_reads_the_recogniser_of_zero() -> None:
    mean, zero = (_graph(_config(name, "training.modality_dropout=1.0")) for name in ("mean", "zero"))
    assert mean.inputs["recogniser"].key == zero.inputs["recogniser"].key
    assert mean.key != zero.key

"""Frames missing, in every system: from clips to metrics, and what is hidden changes no prediction."""

from __future__ import annotations

import dataclasses
import math
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import experiment, of_model
from safetensors.torch import load_file
from torch import Tensor

import imer_ray.systems
from imer_ray import export
from imer_ray.config.slices import Evaluate
from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import MODALITIES
from imer_ray.data.missing_frames import Frames
from imer_ray.evaluation.bayes_optimum import bayes_optimum
from imer_ray.evaluation.model_folder import save
from imer_ray.evaluation.predict import Inference, predict_protocol
from imer_ray.models.model import EmotionModel
from imer_ray.models.parts import Parts
from imer_ray.prediction import graph_export
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.testing.systems import SMALL
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model, load_shape

SYSTEMS = [m.name for m in pkgutil.iter_modules(imer_ray.systems.__path__) if not m.name.startswith("_")]
QUICK = ("masked",)
WORDS = (*SMALL, "encoder.latent_dim=8", "protocol=frames", "protocol.rates=[0.0,0.6,0.9]", "protocol.kind=blocks")
CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SYSTEMS]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("stages")))


def spoilt(dataset: Dataset, left: Dataset) -> Dataset:
    """The valid clips with other values in all frames that are not ``left``."""
    part, frames = dataset.splits["valid"], left.splits["valid"].frames

    def gather_of(m: str) -> Any:
        def gather(rows: Tensor) -> Tensor:
            return part.gather[m](rows).masked_fill(~frames[m][rows][..., None], 100.0)

        return gather

    changed = dataclasses.replace(part, gather={m: gather_of(m) for m in MODALITIES})
    return dataclasses.replace(dataset, splits={**dataset.splits, "valid": changed})


def trained(final: Stage, store: Store) -> tuple[EmotionModel, dict[str, Tensor], dict[str, Any]]:
    """The model that a graph scored, the predictions of it that were scored, and the shape of what it reads."""
    inputs = {role: store.open(source.key).folder for role, source in final.inputs.items()}
    context = Context(folder=Path(), checkpoint=Path(), inputs=inputs)
    model = load_model(Parts.of(Evaluate.read(final.settings)), context)
    return model, load_file(store.open(final.key).folder / "predictions.safetensors"), load_shape(context)


@pytest.mark.parametrize("system", CASES)
def test_every_rate_is_scored_and_what_is_hidden_changes_no_prediction(system: str, store: Store) -> None:
    config = experiment(*WORDS, f"system={system}")
    final = graph(config, "valid")
    metrics = run_graph(final, store)[-1].metrics
    for setting in ("0.0", "0.6", "0.9", "worst", "AUILC"):
        assert 0 <= metrics[f"valid.{setting}.Non0_acc_2"] <= 1 and math.isfinite(metrics[f"valid.{setting}.MAE"])

    read = Evaluate.read(final.settings)
    model, scored, _ = trained(final, store)
    dataset, inference = load_dataset(config), Inference.of(read, read.diffusion)
    for rate in (0.6, 0.9):
        one = Frames(kind="blocks", rates=(rate,))
        other = spoilt(dataset, dataset.under(one, str(rate), "valid", config.seed))
        predicted = predict_protocol(model, other, "valid", one, inference, config.seed, "cpu")[str(rate)]
        assert torch.equal(predicted, scored[str(rate)])
        assert not torch.equal(predicted, scored["0.0"])


def test_the_optimum_is_scored_under_the_same_masks() -> None:
    config = experiment(*WORDS, "data.num_test=2000", "data.frame_noise=8.0")
    found = bayes_optimum(config, "test")
    accuracy = [found[f"test.{rate}.Non0_acc_2"] for rate in ("0.0", "0.6", "0.9")]
    assert accuracy == sorted(accuracy, reverse=True) and accuracy[0] - accuracy[2] > 0.05
    assert found["test.worst.Non0_acc_2"] == accuracy[2]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["masked", "mixture"])
def test_a_saved_model_and_its_graphs_say_of_dropped_frames_what_was_scored(
    system: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(*WORDS, f"system={system}")
    final = graph(config, "valid")
    run_graph(final, store)
    monkeypatch.setattr(graph_export, "PATTERNS", ("lav",))  # a run of frames is left of each modality
    model, scored, shape = trained(final, store)
    dataset = load_dataset(config)
    save(tmp_path / "m" / "1", model, of_model(config), shape, dataset.statistics)
    left = dataset.under(config.protocol.build(), "0.6", "valid", config.seed).splits["valid"]
    rows = torch.arange(12)
    clips = [
        {
            m: [frame if here else None for frame, here in zip(features.tolist(), there.tolist(), strict=True)]
            for m in MODALITIES
            for features, there in [(left.gather[m](rows)[i], left.frames[m][i])]
            if there.any()
        }
        for i in rows.tolist()
    ]
    expected = scored["0.6"][rows].tolist()
    said = [one.value for one in imer_ray.load_model(tmp_path / "m", runtime="eager").predict(clips)]
    assert said == pytest.approx(expected, abs=1e-5)
    export.main([f"model={tmp_path / 'm'}"])
    said = [one.value for one in imer_ray.load_model(tmp_path / "m", runtime="onnx").predict(clips)]
    assert said == pytest.approx(expected, abs=1e-5)
    whole = [{m: left.gather[m](rows)[i].tolist() for m in MODALITIES} for i in rows.tolist()]
    one_by_one = [imer_ray.load_model(tmp_path / "m", runtime="onnx").predict(clip).value for clip in whole]
    assert one_by_one == pytest.approx(scored["0.0"][rows].tolist(), abs=1e-5)

"""A modality that no training clip recorded, or never together with another one, in every system: it stays missing."""

from __future__ import annotations

import math
import pickle
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiments import experiment, of_model
from safetensors.torch import load_file

import imer_ray.systems
from imer_ray import convert
from imer_ray.config.experiment import ModelConfig
from imer_ray.config.slices import Evaluate
from imer_ray.data.missing import PATTERNS
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import load, save
from imer_ray.evaluation.predict import Inference, predict_clips, predictor
from imer_ray.evaluation.timing.speedup import timed_pattern
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import StageResult, run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_latents, load_model, load_shape

SYSTEMS = [m.name for m in pkgutil.iter_modules(imer_ray.systems.__path__) if not m.name.startswith("_")]
SHARED = "diffusion.sharing=shared"
CASES = [(name,) for name in SYSTEMS]
CASES += [("decoupled", "distill.method=reflow"), ("decoupled", "distill.method=consistency"), ("decoupled", SHARED)]
CASES += [("rohydr", SHARED), ("imder", SHARED)]
STAGES = ("encode", "pretrain", "distill", "impute", "recognise", "joint", "fuse", "classify")
pytestmark = pytest.mark.slow  # every system, from clips to metrics

SMALL = [
    *("bank.num_steps=1", "diffusion.num_steps=2", "encoder.latent_dim=8", "distill.num_steps=2"),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=2"),
    *(f"training.{stage}.num_epochs=1" for stage in STAGES),
    "training.impute.num_epochs=6",  # after one step, what is never a target is still zero
]
SIZES, WIDTHS = {"train": 40, "valid": 20, "test": 20}, {"text": 5, "audio": 4, "vision": 3}
Change = Callable[[dict[str, Any]], None]


def _without_vision(tree: dict[str, Any]) -> None:
    for split in tree.values():
        split["vision"][:] = 0


def _vision_alone(tree: dict[str, Any]) -> None:
    """Training clips have vision alone or none; other clips have everything."""
    for name in ("text", "audio"):
        tree["train"][name][:8] = 0
    tree["train"]["vision"][8:] = 0


def _without_text(tree: dict[str, Any]) -> None:
    for split in tree.values():
        split["text"][:] = 0


def _text_alone(tree: dict[str, Any]) -> None:
    for split in tree.values():
        split["audio"][:] = split["vision"][:] = 0


def _write(folder: Path, change: Change) -> list[str]:
    """Overrides that choose a converted file of small clips, changed before."""
    r = np.random.default_rng(0)
    tree: dict[str, Any] = {}
    for name, n in SIZES.items():
        tree[name] = {key: r.normal(size=(n, 8, width)).astype(np.float32) for key, width in WIDTHS.items()}
        tree[name]["regression_labels"] = np.clip(tree[name]["audio"].mean((1, 2)) * 6, -3, 3).astype(np.float32)
    change(tree)
    (folder / "clips.pkl").write_bytes(pickle.dumps(tree))
    convert.main([f"input={folder / 'clips.pkl'}", f"output={folder / 'clips'}"])
    return ["data=store", f"data.path={folder / 'clips'}"]


class Data:
    """A converted data set, and a store of the stages that were run on it."""

    def __init__(self, folder: Path, change: Change) -> None:
        self.overrides, self.store, self.folder = _write(folder, change), Store(str(folder / "stages")), folder

    def run(self, *words: str) -> Run:
        return Run(self, *words)


class Run:
    """A system that was run, from clips to metrics, and its model."""

    def __init__(self, data: Data, system: str, *overrides: str) -> None:
        config = experiment(*SMALL, *data.overrides, f"system={system}", *overrides)
        config = replace(config, data_fingerprint=load_dataset(config).fingerprint)
        self.final: Stage = graph(config, "valid")
        self.results: dict[str, StageResult] = {r.name: r for r in run_graph(self.final, data.store)}
        self.folders = {s.name: data.store.open(s.key).folder for s in self.final.in_order()}
        inputs = {role: data.store.open(s.key).folder for role, s in self.final.inputs.items()}
        self.context = Context(folder=data.folder, inputs=inputs, checkpoint=data.folder)
        read = Evaluate.read(self.final.settings)
        self.config = of_model(config, read.imputer)  # as train saves it
        self.model: Any = load_model(Parts.of(read), self.context)
        self.metrics = self.results["evaluate"].metrics

    def entering_fusion(self, pattern: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Refined latents of the validation clips with ``pattern`` available, and what that is of each."""
        latents = load_latents(self.context, "valid")
        available = latents.recorded & PATTERNS[pattern]
        filled = latents.x * available[..., None, None]
        if self.model.recovery is not None:
            sampler = DDIM()
            given = (latents.x, available, latents.frames, sampler, 2, torch.Generator().manual_seed(0))
            filled, _ = self.model.recovery(*given)
        return (self.model.recogniser.refine(filled, available) if self.refines else filled), available

    @property
    def refines(self) -> bool:
        return hasattr(self.model.recogniser, "refine")

    def predict(self, model: Any, config: ModelConfig, pattern: str) -> torch.Tensor:
        batch = load_dataset(self.config).batch("test", torch.arange(SIZES["test"]))
        available = batch.recorded & PATTERNS[pattern]
        return predict_clips(batch, available, lambda p: predictor(model, Inference.of_model(config), p, seed=0))


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("blind"), _without_vision)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("apart"), _vision_alone)


@pytest.mark.parametrize("words", CASES, ids="-".join)
def test_every_system_scores_what_was_recorded_and_leaves_the_rest_missing(
    words: tuple[str, ...], blind: Data, tmp_path: Path
) -> None:
    run = blind.run(*words)
    scored = {key.split(".")[1] for key in run.metrics if key.count(".") == 2 and key.startswith("valid.")}
    assert scored == {"l", "a", "la", "lv", "av", "lav", "worst"}
    assert all(math.isfinite(value) for value in run.metrics.values())
    assert load_shape(run.context)["recoverable"] == ["l", "a"]
    for stage, result in run.results.items():
        if stage.endswith("[v]"):
            assert result.metrics["epochs"] == 0 and (run.folders[stage] / "network_v.safetensors").exists()
        elif "epochs" in result.metrics:
            assert result.metrics["epochs"] >= 1
    assert (run.metrics["nfe"] > 0) == ("network_l" in run.context.inputs)

    for pattern, other in (("l", 1), ("a", 0)):
        entering, _ = run.entering_fusion(pattern)
        assert not entering[:, 2].any(), "nothing turns zeros into something"
        if words != ("mean",):  # whose training means are zeros up to rounding
            assert bool(entering[:, other].any()) == (run.model.recovery is not None)
    if "bank" in run.folders:
        entries = load_file(run.folders["bank"] / "bank_train.safetensors")["recovered"].flatten(3).any(3).any(2)[0]
        # In the order of imer_ray.training.latent_bank: of l: a v; a: l v; la: v; v: l a; lv: a; av: l. No clip has v.
        assert entries.tolist() == [True, False, True, False, False, False, False, False, False]

    for with_vision, without in (("lv", "l"), ("av", "a"), ("lav", "la")):
        assert torch.equal(*(run.predict(run.model, run.config, p) for p in (with_vision, without)))
    save(tmp_path / "model", run.model, run.config, load_shape(run.context), load_dataset(run.config).statistics)
    again, config = load(tmp_path / "model")
    for pattern in ("l", "a", "la"):
        assert torch.equal(run.predict(again, config, pattern), run.predict(run.model, run.config, pattern))


@pytest.mark.parametrize(
    "words", [("decoupled",), ("decoupled", SHARED), ("imder",), ("regression",), ("autoencoder",)], ids="-".join
)
def test_a_modality_recorded_only_alone_in_training_is_neither_recovered_nor_recovered_from(
    words: tuple[str, ...], apart: Data
) -> None:
    """Validation clips have all three, so that the network is asked for what it never saw."""
    run = apart.run(*words)
    assert load_shape(run.context)["recoverable"] == ["l", "a"]
    assert all(math.isfinite(value) for value in run.metrics.values())
    assert not run.entering_fusion("la")[0][:, 2].any()
    assert not run.entering_fusion("v")[0][:, :2].any()
    from_l, from_lv = (run.entering_fusion(pattern)[0] for pattern in ("l", "lv"))
    assert from_l[:, 1].any() and torch.equal(from_l[:, 1], from_lv[:, 1])


def test_speed_is_measured_where_something_is_recovered(tmp_path: Path) -> None:
    run = Data(tmp_path, _without_text).run("decoupled")
    assert timed_pattern(run.model) == "lv"
    assert timed_pattern(Data(_folder(tmp_path), _without_vision).run("zero").model) == "av"


@pytest.mark.parametrize("words", [("decoupled",), ("decoupled", SHARED), ("imder",)])
def test_recovery_is_refused_where_no_clip_has_two_modalities(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training clip has two modalities recorded"):
        Data(tmp_path, _text_alone).run(*words)


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "other").mkdir()
    return tmp_path / "other"

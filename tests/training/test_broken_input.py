"""Data and settings that do not suit: a modality never recorded, clips without labels, training that diverges."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiments import experiment
from safetensors.torch import load_file

from imer_ray import cli, convert
from imer_ray.config.slices import Evaluate
from imer_ray.errors import NonFiniteError, UserError
from imer_ray.evaluation.score import score, unscored
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import load_function, run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.latents import Latents, load_dataset

SIZES = {"train": 48, "valid": 24, "test": 24}
WIDTHS = {"text": 5, "audio": 4, "vision": 3}
SMALL = [
    *(f"training.{stage}.num_epochs=1" for stage in ("encode", "pretrain", "recognise", "joint", "impute")),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=2", "bank.num_steps=1"),
    "diffusion.num_steps=1",
]


def _data(folder: Path, change: Callable[[dict[str, Any]], None] = lambda tree: None) -> list[str]:
    """Overrides that choose a converted file of small clips, ``change``d before."""
    r = np.random.default_rng(0)
    tree = {}
    for name, n in SIZES.items():
        tree[name] = {key: r.normal(size=(n, 8, width)).astype(np.float32) for key, width in WIDTHS.items()}
        tree[name]["regression_labels"] = np.clip(tree[name]["text"].mean((1, 2)) * 6, -3, 3).astype(np.float32)
    change(tree)
    (folder / "clips.pkl").write_bytes(pickle.dumps(tree))
    convert.main([f"input={folder / 'clips.pkl'}", f"output={folder / 'clips'}"])
    return ["data=store", f"data.path={folder / 'clips'}"]


def _run(folder: Path, data: list[str], *overrides: str, split: str = "valid") -> tuple[Stage, Store, dict[str, float]]:
    config = experiment(*SMALL, *data, *overrides)
    final = graph(replace(config, data_fingerprint=load_dataset(config).fingerprint), split)
    store = Store(str(folder / "stages"))
    return final, store, dict(run_graph(final, store)[-1].metrics)


def _without_vision(tree: dict[str, Any]) -> None:
    for split in tree.values():
        split["vision"][:] = 0


@pytest.mark.parametrize("system", ["zero", "mean", "masked"])
def test_a_pattern_that_no_clip_recorded_is_not_scored_and_the_user_is_told(
    system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final, store, metrics = _run(tmp_path, _data(tmp_path, _without_vision), f"system={system}")
    settings = {key.split(".")[1] for key in metrics if key.startswith("valid.") and key.count(".") == 2}
    assert settings == {"l", "a", "la", "lv", "av", "lav", "worst"}
    predictions = load_file(store.open(final.key).folder / "predictions.safetensors")
    assert torch.isnan(predictions["v"]).all()
    for with_vision, without in (("lv", "l"), ("av", "a"), ("lav", "la")):
        assert torch.equal(predictions[with_vision], predictions[without])
    incomplete = [metrics[f"valid.{name}.MAE"] for name in ("l", "a", "la", "lv", "av")]
    assert metrics["valid.MAE"] == pytest.approx(np.mean(incomplete))
    assert unscored(Evaluate.read(final.settings), "valid") == ["v"]
    capsys.readouterr()
    cli.say_unscored(Evaluate.read(final.settings), "valid")
    assert capsys.readouterr().out == "not scored: v (fewer than 2 labelled valid clips recorded any of it)\n"


def test_the_autoencoder_needs_two_modalities_in_some_clip(tmp_path: Path) -> None:
    def only_text(tree: dict[str, Any]) -> None:
        _without_vision(tree)
        for split in tree.values():
            split["audio"][:] = 0

    with pytest.raises(UserError, match="no training clip has two modalities recorded"):
        _run(tmp_path, _data(tmp_path, only_text), "system=autoencoder")


@pytest.mark.parametrize(("split", "scored"), [("train", "valid"), ("valid", "valid"), ("test", "test")])
def test_a_split_without_labels_is_refused(split: str, scored: str, tmp_path: Path) -> None:
    def unlabelled(tree: dict[str, Any]) -> None:
        tree[split]["regression_labels"][:] = np.nan

    with pytest.raises(UserError, match=f"{split} split.* no clip with a label|no labelled clip of the {split} split"):
        _run(tmp_path, _data(tmp_path, unlabelled), "system=zero", split=scored)


@pytest.mark.parametrize("stage", ["encode", "pretrain", "recognise", "impute"])
def test_a_training_that_diverges_ends_with_what_may_cure_it(stage: str, tmp_path: Path) -> None:
    """From real losses, which overflow; that the trial is told as failed is tested in tests/tuning."""
    system = {"encode": "zero", "pretrain": "decoupled", "recognise": "masked", "impute": "autoencoder"}[stage]
    settings = [f"training.{stage}.learning_rate=1e30", f"training.{stage}.num_epochs=3"]
    with pytest.raises(NonFiniteError, match="the loss became (nan|inf) in epoch .*learning rate"):
        _run(tmp_path, _data(tmp_path), f"system={system}", *settings)


def test_clips_without_a_label_teach_recovery_and_not_the_task(tmp_path: Path) -> None:
    """Their latents replaced, every stage that learns to recover gives other weights, the recogniser the same ones."""
    final, store, _ = _run(tmp_path, _data(tmp_path), "system=masked")
    encoded = store.open(final.inputs["encode"].key).folder
    latents = Latents.load(encoded / "latents_train.safetensors")
    unlabelled = torch.arange(SIZES["train"]) % 3 == 0
    labels = latents.labels.masked_fill(unlabelled, float("nan"))
    folders = []
    for name, noise in (("first", 0.0), ("second", 1.0)):
        folder = tmp_path / name
        folder.mkdir()
        for path in encoded.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        other = torch.randn(latents.x.shape, generator=torch.Generator().manual_seed(1))
        x = latents.x + noise * other * unlabelled[:, None, None, None]
        Latents(x, latents.frames, latents.recorded, labels).save(folder / "latents_train.safetensors")
        folders.append(folder)

    def weights(system: str, wanted: str) -> list[dict[str, torch.Tensor]]:
        """Of the stage ``wanted`` on each of the two."""
        final = graph(experiment(*SMALL, f"system={system}", fingerprint="clips"), "valid")
        stage = next(s for s in final.in_order() if s.name == wanted)
        found = []
        for number, folder in enumerate(folders):
            out = tmp_path / f"{wanted}-{system}-{number}"
            (out / "checkpoint").mkdir(parents=True)
            context = Context(folder=out, inputs={"encode": folder}, checkpoint=out / "checkpoint")
            load_function(stage.function)(stage.settings, context)
            found.append(load_file(next(out.glob("*.safetensors"))))
        return found

    for system, name, same in [
        ("masked", "recognise", True),
        ("decoupled", "pretrain[l]", False),
        ("regression", "impute", False),
        ("autoencoder", "impute", False),
        ("flow_transfer", "impute", False),
    ]:
        first, second = weights(system, name)
        assert all(torch.equal(first[key], second[key]) for key in first) == same, (system, name)
        assert all(torch.isfinite(value).all() for value in first.values())


def test_clips_without_a_label_are_not_scored(tmp_path: Path) -> None:
    def every_second(tree: dict[str, Any]) -> None:
        tree["valid"]["regression_labels"][::2] = np.nan

    final, store, metrics = _run(tmp_path, _data(tmp_path, every_second), "system=zero")
    read = Evaluate.read(final.settings)
    dataset = load_dataset(read)
    predictions = load_file(store.open(final.key).folder / "predictions.safetensors")
    labels = dataset.labels("valid")
    expected = (predictions["l"] - labels)[1::2].abs().mean()
    assert metrics["valid.l.MAE"] == pytest.approx(float(expected), rel=1e-6)
    again = score(predictions, dataset, "valid", read.protocol.build())
    assert again["valid.l.MAE"] == metrics["valid.l.MAE"]

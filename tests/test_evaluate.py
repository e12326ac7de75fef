"""The evaluate command on models that were never trained but are real: which data, which rows, which names."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from experiments import experiment, of_model

from imer_ray import convert
from imer_ray.config.commands import EvaluateCommandConfig
from imer_ray.config.components import Component, option
from imer_ray.config.compose import compose
from imer_ray.errors import UserError
from imer_ray.evaluate import _published
from imer_ray.evaluate import main as evaluate
from imer_ray.evaluation.comparison import open_model
from imer_ray.evaluation.model_collection import collect
from imer_ray.evaluation.model_folder import load, save
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.training.latents import load_dataset

SMALL = [
    "speed.max_repeats=1",
    "speed.reference_steps=1",
    "speed.max_seconds=0",
    "speed.batch_size=2",
    "encoder.latent_dim=8",
]
FIXED = Component.of(option("protocol", "fixed"))
MOSI = "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9"


def make_store(folder: Path, name: str, seed: int) -> Path:
    r = np.random.default_rng(seed)
    shapes = {"text": (8, 4), "audio": (8, 3), "vision": (8, 2)}
    splits = {
        split: {key: r.normal(0, 1, (24, *shape)).astype("f4") for key, shape in shapes.items()}
        | {"regression_labels": r.uniform(-3, 3, 24).astype("f4")}
        for split in ("train", "valid", "test")
    }
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(splits))
    convert.main([f"input={folder / name}.pkl", f"output={folder / name}"])
    return folder / name


def make_model(folder: Path, *words: str) -> None:
    config = experiment(*SMALL, *words, "system=masked")
    dataset, parts = load_dataset(config), Parts.of(of_model(config))
    torch.manual_seed(sum(str(folder).encode()))
    encoder = build_encoder(parts.encoder, dataset.dims, dataset.lengths)
    model = EmotionModel(encoder, None, build_recogniser(parts.encoder.latent_dim, parts.fusion))
    kept = of_model(replace(config, data_fingerprint=dataset.fingerprint))
    save(folder / "1111", model, kept, {"dims": dataset.dims, "lengths": dataset.lengths}, dataset.statistics)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models ``a/quality`` and ``b/quality`` on the store ``clips``, and the store ``others``."""
    folder = tmp_path_factory.mktemp("evaluate")
    clips = make_store(folder, "clips", 0)
    make_store(folder, "others", 1)
    for name in ("a", "b"):
        make_model(folder / name / "quality", "data=store", f"data.path={clips}")
    return folder


def test_two_models_of_one_folder_name_stand_side_by_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    evaluate(["model=a/quality,b/quality", "data=store", "data.path=others"])
    frame = pd.read_csv("a/a-quality-vs-b-quality/evaluate_fixed.csv")
    assert set(frame["Model"]) == {"a/quality", "b/quality"}
    one, other = (frame[frame["Model"] == name].reset_index() for name in ("a/quality", "b/quality"))
    assert not one["MAE"].equals(other["MAE"])
    seeds = pd.read_csv("a/a-quality-vs-b-quality/evaluate_fixed_seeds.csv")
    assert set(seeds["Seed"]) == {1111}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["data.name=nonsense"],
            "data=nonsense: unknown key or option; choose one of mosi_utterance, store, synthetic",
        ),
        (["data.name=mosi_utterance"], "data=mosi_utterance needs the table: data.path="),
        (["data=store"], "data=store needs the folder"),
        (["data.path=others"], "the content differs from what this configuration was made for"),
        (["data.path=nowhere"], "nowhere/dataset.json: there is no such file; make a store"),
        (["data.num_test=3"], "data.num_test: unknown key or option"),
        (["published=true"], "these data (store) were not converted from one of them"),
        (
            ["published=true", "data=store", "data.path=others"],
            "published=true is for models scored on the data they were trained on",
        ),
        (["published=maybe"], "published must be true or false, not 'maybe'"),
        (["against=zeros"], "against=zeros: there is no such system; choose one of quality"),
        (["output=clips.pkl"], "cannot write clips.pkl: a file is in the way"),
        (["protocol=fxied"], "protocol=fxied: unknown key or option; did you mean fixed?"),
        (["model="], "model must name the folder of at least one trained model"),
        (["model=a,c"], "no trained model in a, but in folders of it"),
    ],
)
def test_what_cannot_be_scored_is_one_true_line(
    folder: Path, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as raised:
        evaluate(["model=a/quality", *words])
    message = str(raised.value)
    assert says in message and "\n" not in message and len(message) < 300
    assert not list(folder.glob("a/quality/evaluate*"))


ELSEWHERE = """
import sys
from pathlib import Path
import torch
from imer_ray.evaluation.model_folder import load, read_shape, read_statistics
model, config = load(Path("1111"))
assert not Path(config.data.settings["path"]).exists()
statistics, shape = read_statistics(Path("1111")), read_shape(Path("1111"))
assert statistics is not None and shape["dims"] == {"l": 4, "a": 3, "v": 2}
torch.save({name: tensor for name, tensor in model.state_dict().items()}, "weights.pt")
"""


def test_a_copied_folder_opens_on_a_machine_without_the_data(folder: Path, tmp_path: Path) -> None:
    clips = shutil.copytree(folder / "clips", tmp_path / "clips")
    make_model(tmp_path / "models", "data=store", f"data.path={clips}")
    weights = load(tmp_path / "models/1111")[0].state_dict()
    (tmp_path / "machine").mkdir()
    shutil.move(tmp_path / "models/1111", tmp_path / "machine/1111")
    shutil.rmtree(clips)
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path / "machine", check=True)
    read = torch.load(tmp_path / "machine/weights.pt")
    assert read.keys() == weights.keys() and all(torch.equal(read[name], weights[name]) for name in weights)


def test_other_clips_are_standardised_by_the_models_statistics_and_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    evaluate(["model=b/quality", "data=store", "data.path=others", "output=scored"])
    assert "other data than these were trained on: features are standardised by the training" in capsys.readouterr().out
    own, other = (open_model(Path("b/quality/1111"), FIXED, data) for data in ({}, {"name": "store", "path": "others"}))
    for m, (mean, std) in other.dataset.statistics.items():
        wanted = own.dataset.statistics[m]
        assert torch.equal(mean, wanted[0]) and torch.equal(std, wanted[1]) and other.is_other_data


def published(folder: Path, *words: str) -> pd.DataFrame | None:
    options = compose(EvaluateCommandConfig, "evaluate", [f"model={folder}", "published=true", *words])
    return _published(options, collect([folder]))[0]


def test_published_numbers_are_laid_beside_the_very_files_only(folder: Path, tmp_path: Path) -> None:
    """Whatever the folder, the file or the data option is called."""
    store = make_store(tmp_path, "mosi", 0)
    make_model(tmp_path / "CMU-MOSI", "data=store", f"data.path={store}")
    with pytest.raises(UserError, match="were not converted from one of them"):
        published(tmp_path / "CMU-MOSI")
    manifest = json.loads((store / "dataset.json").read_text())
    manifest["source"]["sha256"] = MOSI
    (store / "dataset.json").write_text(json.dumps(manifest))
    store.rename(tmp_path / "clips")
    rows = published(tmp_path / "CMU-MOSI", f"data.path={tmp_path / 'clips'}")
    assert rows is not None and rows["Model"].str.contains("IMDer").any()
    config = yaml.safe_load((tmp_path / "CMU-MOSI/1111/config.yaml").read_text())
    config["data"] = experiment("data=mosi_utterance").data.node
    (tmp_path / "CMU-MOSI/1111/config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"these data \(mosi_utterance\) were not converted from one of them"):
        published(tmp_path / "CMU-MOSI")

"""What `train` reads: an exported file or a published system's preset, and the changes that are asked for."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from imer_ray import convert
from imer_ray.config.commands import TrainConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of
from imer_ray.errors import UserError
from imer_ray.train import _label, read_config
from imer_ray.train import main as train


def test_a_preset_is_read_by_name_with_changes() -> None:
    settings = {"training": {"joint": {"num_epochs": 4}}, "diffusion": {"sampler": "heun"}}
    config = read_config(Path("imder"), {"name": "synthetic", "num_test": 50}, settings)
    assert config.system == "imder" and config.diffusion.backbone.name == "imder_unet"
    assert config.training.joint.num_epochs == 4 and config.training.joint.batch_size == 32
    assert config.diffusion.sampler.name == "heun" and config.diffusion.num_steps == 100
    assert config.data.settings["num_test"] == 50 and len(str(config.data_fingerprint)) > 10


def test_an_exported_file_is_the_same_configuration(tmp_path: Path) -> None:
    config = compose(ExperimentConfig, "experiment", ["diffusion.sde=ve"])
    (tmp_path / "pick.yaml").write_text(yaml.safe_dump({"config": tree_of(config)}))
    read = read_config(tmp_path / "pick.yaml", {}, {})
    assert read == replace(config, data_fingerprint=read.data_fingerprint)
    changed = read_config(tmp_path / "pick.yaml", {}, {"diffusion": {"sde": {"sigma_max": 30.0}}})
    assert changed.diffusion.sde.settings["sigma_max"] == 30.0 and changed.diffusion.sde.name == "ve"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diffusion": {"num_stesp": 3}}, "diffusion.num_stesp"),
        ({"diffusion": {"sde": "vx"}}, "diffusion.sde"),
        ({"diffusion": {"num_steps": 0}}, "num_steps"),
    ],
)
def test_wrong_changes_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_config(Path("decoupled"), {}, settings)


def test_neither_a_file_nor_a_preset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist.*decoupled, imder, rohydr"):
        read_config(tmp_path / "none.yaml", {}, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported pick of synthetic clips, and the store ``my data (1)``."""
    folder = tmp_path_factory.mktemp("train")
    words = ["data.num_train=64", "data.num_valid=20", "data.num_test=20", f"data_fingerprint={'f' * 64}"]
    config = tree_of(compose(ExperimentConfig, "experiment", words))
    (folder / "export").mkdir()
    (folder / "export/quality.yaml").write_text(yaml.safe_dump({"config": config}))
    r = np.random.default_rng(0)
    shapes = {"text": (6, 4), "audio": (6, 3), "vision": (6, 2)}
    splits = {
        split: {key: r.normal(0, 1, (9, *shape)).astype("f4") for key, shape in shapes.items()}
        | {"regression_labels": r.uniform(-3, 3, 9).astype("f4")}
        for split in ("train", "valid", "test")
    }
    (folder / "x=1, 数据.pkl").write_bytes(pickle.dumps(splits))
    convert.main([f"input={folder / 'x=1, 数据.pkl'}", f"output={folder / 'my data (1)'}"])
    return folder


@pytest.mark.parametrize("words", [["data=store"], ["data.name=store"], ["settings.data=store"]])
def test_a_pick_is_trained_on_other_data_as_a_fresh_configuration_would_be(
    folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    key = "settings.data.path" if words[0].startswith("settings") else "data.path"
    chosen = compose(TrainConfig, "train", [*words, f"{key}=~/my data (1)"])
    config = read_config(folder / "export/quality.yaml", chosen.data, chosen.settings)
    assert config.data.node == {
        "name": "store", "_target_": "imer_ray.data.store.Store", "path": str(folder / "my data (1)")
    }  # fmt: skip
    assert config.data_fingerprint == config.data.build().fingerprint()
    exported = yaml.safe_load((folder / "export/quality.yaml").read_text())["config"]
    assert {path for path, value in tree_of(config).items() if value != exported[path]} == {"data", "data_fingerprint"}
    assert capsys.readouterr().out == "", "these data set nothing beside themselves"


def test_what_other_data_set_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="data=mosi_utterance needs the table"):
        read_config(folder / "export/quality.yaml", {"name": "mosi_utterance"}, {})
    said = capsys.readouterr().out
    assert said.startswith("data mosi_utterance in place of synthetic, and what goes with them: encoder.dropout=0.8, ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["config=export"], "config=export is a folder; name a file of it, for example config=export/quality.yaml"),
        (["config=."], "config=. is a folder; name a file of it, for example config=export/quality.yaml"),
        (["config=empty"], "config=empty is a folder; name a file of it; python -m imer_ray.export writes one"),
        (["config=export/qualty.yaml"], "does not exist; did you mean export/quality.yaml?; export one with"),
        (["config=imdr"], "imdr does not exist; did you mean imder?; export one with"),
        (["config=export/quality.yaml/x"], "does not exist"),
        (["config=results.parquet"], "results.parquet"),
        (["config=latin.yaml"], "latin.yaml"),
        (["config=tabs.yaml"], "tabs.yaml"),
        (["config=date.yaml"], "date.yaml"),
        (["config=deep.yaml"], "deep.yaml"),
        (["config=large.yaml"], "large.yaml"),
        (["config=/dev/zero"], "/dev/zero"),
        (["config=pipe"], "pipe"),
        (["config=null.yaml"], "null.yaml is no exported configuration: it has no section config"),
        (["config=empty.yaml"], "system must be str, not None"),
        (["config="], "config= is empty"),
        (["config=export/quality.yaml", "baselines=none"], "baselines=none: unknown key or option; choose one of auto"),
        (["config=export/quality.yaml", "baselines=[zeros]"], "baselines=zeros: unknown key or option; did you mean z"),
        (["config=export/quality.yaml", "seeds=[]"], "seeds is empty"),
        (["config=export/quality.yaml", "seeds=[1,1]"], "seeds names 1 more than once"),
        (["config=export/quality.yaml", "seeds=many"], "seeds must be int, not 'many'"),
        (["config=export/quality.yaml", "data=nonsense"], "data=nonsense: unknown key or option; choose one of mosi_u"),
        (["config=export/quality.yaml", "data.name=stroe"], "data=stroe: unknown key or option; did you mean store?"),
        (["config=export/quality.yaml", "data.path=x"], "data.path: unknown key or option"),
        (["config=export/quality.yaml", "data=store"], "data=store needs the folder"),
        (["config=export/quality.yaml"], "train and evaluate take other data where they are named, as data=synthetic"),
        (["config=export/quality.yaml", "settings.fusion=mlut"], "fusion=mlut: unknown key or option; did you mean mu"),
        (["config=export/quality.yaml", "settings.system=007"], "system=007: unknown key or option"),
        (["config=decoupled", "data.num_train=9", "output=results.parquet"], "cannot write results.parquet: a file is"),
        (["config=decoupled", "data.num_train=9", "output=/proc/x"], "cannot write /proc/x"),
        (["preset=imder"], "preset: unknown key or option"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_one_true_line(
    folder: Path, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    files = {
        "results.parquet": b"PAR1\x00\xff\xfe",
        "latin.yaml": "config: {}  # é".encode("latin-1"),
        "tabs.yaml": b"config:\n\t- x\n  y",
        "date.yaml": b"config: 2026-99-99",
        "deep.yaml": b"config: " + b"[" * 5000,
        "large.yaml": b"#" * 2_000_000,
        "null.yaml": b"",
        "empty.yaml": b"config: {system: null}",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
    with pytest.raises(UserError) as raised:
        train(words)
    message = str(raised.value)
    assert says in message and "\n" not in message and len(message) < 400
    assert not (folder / "models").exists() and not (folder / "runs").exists()


@pytest.mark.parametrize("taken", ["1111", "baselines/masked/7"])
def test_seeds_of_another_configuration_are_never_mixed_in(
    folder: Path, tmp_path: Path, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = {"name": "synthetic", "num_train": 64}
    config = read_config(folder / "export/quality.yaml", other, {"diffusion.num_steps": 9})
    model = tmp_path / "models/quality" / taken
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "config.yaml").write_text(yaml.safe_dump({**tree_of(config), "seed": 7, "system": "masked"}))
    with pytest.raises(UserError, match=r"models/quality holds models of another configuration \(.*output=models/qual"):
        train([f"config={folder / 'export/quality.yaml'}", "data=synthetic", "data.num_train=64"])
    assert (model / "model.safetensors").read_bytes() == b"weights" and not (tmp_path / "runs").exists()


def test_a_model_whose_file_is_named_as_a_baseline_has_a_row_of_its_own() -> None:
    assert [_label(stem, ["zero", "masked"]) for stem in ("quality", "mean", "masked", "bayes")] == [
        *("quality", "mean", "masked.yaml", "bayes.yaml")
    ]

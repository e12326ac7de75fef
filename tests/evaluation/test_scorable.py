"""Data that nothing can be learnt from or scored on are refused before anything is trained."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from experiments import experiment, of_model

from imer_ray import cli, convert
from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of
from imer_ray.errors import UserError
from imer_ray.evaluate import main as evaluate
from imer_ray.evaluation.model_folder import save
from imer_ray.evaluation.scorable import check_quality, check_scoring, check_training
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.train import main as train
from imer_ray.training.latents import load_dataset
from imer_ray.tuning.study.study import plan

SIZES = {"train": 24, "valid": 16, "test": 16}
WIDTHS = {"text": 5, "audio": 4, "vision": 3}
Change = Callable[[dict[str, Any]], None]


def _tree() -> dict[str, Any]:
    r = np.random.default_rng(0)
    tree = {}
    for name, count in SIZES.items():
        tree[name] = {key: r.normal(size=(count, 8, width)).astype(np.float32) for key, width in WIDTHS.items()}
        tree[name]["regression_labels"] = np.linspace(-2.5, 2.5, count, dtype=np.float32)
    return tree


@pytest.fixture
def data(tmp_path: Path) -> Callable[[Change], list[str]]:
    """Overrides that choose a store of small clips, changed before."""

    def make(change: Change) -> list[str]:
        tree = _tree()
        change(tree)
        (tmp_path / "clips.pkl").write_bytes(pickle.dumps(tree))
        convert.convert(tmp_path / "clips.pkl", tmp_path / "clips")
        return ["data=store", f"data.path={tmp_path / 'clips'}"]

    return make


def _labels(split: str, values: Any) -> Change:
    def change(tree: dict[str, Any]) -> None:
        tree[split]["regression_labels"] = np.resize(np.asarray(values, np.float32), SIZES[split])

    return change


def _unrecorded(split: str, *keys: str) -> Change:
    def change(tree: dict[str, Any]) -> None:
        for key in keys:
            tree[split][key][:] = 0

    return change


def _two_classes(tree: dict[str, Any]) -> None:
    for split in tree.values():
        split["regression_labels"] = np.where(split["regression_labels"] < 0, -1, 1).astype(np.float32)


NAN, REFUSED = np.nan, "those of the valid split of data store"


@pytest.mark.parametrize(
    ("change", "quality", "message"),
    [
        (_labels("valid", 0), "Non0_F1_score", f"needs labels below and above 0, and {REFUSED} are all 0"),
        (
            _labels("valid", [0.2, 1, 0]),
            "Non0_acc_2",
            rf"needs labels below and above 0, and {REFUSED} lie in \[0, 1\]",
        ),
        (_labels("valid", [0.2, 1, 0]), "Has0_F1_score", "needs labels below 0 and others"),
        (_labels("valid", [-1, -0.2]), "Has0_acc_2", "needs labels below 0 and others"),
        (_labels("valid", [1, 1.2]), "Mult_acc_7", "needs labels of more than one of its seven classes"),
        (_labels("valid", [2, 3]), "Mult_acc_5", "needs labels of more than one of its five classes"),
        (_labels("valid", 1), "Corr", f"needs labels that differ, and {REFUSED} are all 1"),
        (_labels("valid", NAN), "MAE", "no clip of the valid split has a label"),
        (_labels("valid", [1] + [NAN] * 15), "MAE", "no labelled clip of the valid split .* can be scored"),
        (_labels("train", NAN), "MAE", "no clip of the train split has a label"),
        (_labels("train", 0), "MAE", "all 24 labelled clips of the train split have the label 0"),
        (_unrecorded("valid", "vision"), "v.Non0_F1_score", "no labelled clip of the valid split .* can be scored"),
        (_unrecorded("train", *WIDTHS), "MAE", "no clip of the train split has a label and a recorded modality"),
        (_two_classes, "Corr", r"needs labels in \[-3, 3\], not -1 and 1 only"),
        (lambda tree: None, "w.MAE", "the protocol has no setting w; choose one of l, a, v, la, lv, av, lav"),
        (lambda tree: None, "AUILC.MAE", "is an area over missing rates, and protocol=fixed has not two"),
        (_labels("valid", 0), "worst.Non0_F1_score", f"needs labels below and above 0, and {REFUSED} are all 0"),
    ],
)
def test_a_search_whose_quality_the_data_cannot_tell_is_refused_while_it_is_planned(
    data: Callable[[Change], list[str]], tmp_path: Path, change: Change, quality: str, message: str
) -> None:
    options = compose(SearchConfig, "search", [*data(change), f"study.quality={quality}", f"study.root={tmp_path}"])
    with pytest.raises(UserError, match=message) as caught:
        plan(options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("change", "quality"),
    [
        (_labels("valid", [0.2, 1, 0]), "MAE"),
        (_labels("valid", [0.2, 1, 0]), "Corr"),
        (_labels("valid", [-1, 1] + [NAN] * 14), "Non0_F1_score"),
        (_unrecorded("valid", "vision"), "Non0_F1_score"),
        (_unrecorded("valid", "vision"), "lav.Corr"),
        (_two_classes, "Has0_acc_2"),
        (_unrecorded("valid", "vision"), "worst.Corr"),
    ],
)
def test_what_can_be_scored_is_not_refused(data: Callable[[Change], list[str]], change: Change, quality: str) -> None:
    options = experiment(*data(change))
    check_training(options)
    check_quality(options, "valid", quality)
    check_scoring(options, "valid")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_labels("test", 0), "the test split cannot be scored: Corr needs labels that differ, .* are all 0"),
        (_labels("test", NAN), "the test split cannot be scored: no labelled clip of the test split"),
        (_unrecorded("test", *WIDTHS), "the test split cannot be scored: no labelled clip of the test split"),
        (_labels("train", -1), "all 24 labelled clips of the train split have the label -1"),
    ],
)
def test_train_looks_at_the_data_before_anything_starts(
    data: Callable[[Change], list[str]], tmp_path: Path, change: Change, message: str
) -> None:
    config = compose(ExperimentConfig, "experiment", data(change))
    (tmp_path / "pick.yaml").write_text(yaml.safe_dump({"config": tree_of(config)}))
    with pytest.raises(UserError, match=message):
        train([f"config={tmp_path / 'pick.yaml'}", f"output={tmp_path / 'models'}"])
    assert not (tmp_path / "models").exists()


def test_evaluate_looks_at_the_data_before_anything_is_scored(
    data: Callable[[Change], list[str]], tmp_path: Path
) -> None:
    config = experiment(*data(_labels("test", 0)))
    dataset, parts = load_dataset(config), Parts.of(of_model(config))
    encoder = build_encoder(parts.encoder, dataset.dims, dataset.lengths)
    model = EmotionModel(encoder, None, build_recogniser(parts.encoder.latent_dim, parts.fusion))
    kept = of_model(replace(config, data_fingerprint=dataset.fingerprint))
    save(tmp_path / "model/1", model, kept, {"dims": dataset.dims, "lengths": dataset.lengths}, dataset.statistics)
    with pytest.raises(UserError, match="the test split cannot be scored: Corr needs labels that differ"):
        evaluate([f"model={tmp_path / 'model'}"])


def test_the_area_over_rates_needs_two_of_them(data: Callable[[Change], list[str]]) -> None:
    words = data(lambda tree: None)
    for protocol in ("random", "frames"):
        check_quality(experiment(*words, f"protocol={protocol}"), "valid", "AUILC.MAE")
        with pytest.raises(UserError, match=r"study\.quality=AUILC\.MAE is an area over missing rates"):
            check_quality(experiment(*words, f"protocol={protocol}", "protocol.rates=[0.5]"), "valid", "AUILC.MAE")


@pytest.mark.parametrize("protocol", [["protocol.patterns=[lav]"], ["protocol=random", "protocol.rates=[0.0]"]])
def test_a_protocol_that_leaves_nothing_missing_is_refused(
    data: Callable[[Change], list[str]], protocol: list[str]
) -> None:
    options = experiment(*data(lambda tree: None), *protocol)
    for quality in ("MAE", "lav.MAE" if len(protocol) == 1 else "0.0.MAE"):
        with pytest.raises(UserError, match="protocol=.* leaves nothing missing; give it settings that do"):
            check_quality(options, "valid", quality)
    with pytest.raises(UserError, match="leaves nothing missing"):
        check_scoring(options, "test")


def test_metrics_without_a_meaning_are_told(
    data: Callable[[Change], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config = experiment(*data(_labels("test", [0.6, 1.2, 0])))
    load_dataset(config)
    capsys.readouterr()
    cli.say_unscored(config, "test")
    metrics = "Has0_acc_2, Has0_F1_score, Non0_acc_2, Non0_F1_score"
    assert capsys.readouterr().out == f"without meaning: {metrics} (the labels of the test clips are too much alike)\n"
    cli.say_unscored(config, "valid")
    assert capsys.readouterr().out == ""

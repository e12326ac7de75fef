"""What a finished training leaves: folders that answer by themselves, and figures that agree with what they answer."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from experiments import experiment

from imer_ray import systems
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.missing import PATTERNS
from imer_ray.evaluation.comparison import DEVICE, open_model
from imer_ray.evaluation.model_folder import read_config, read_shape
from imer_ray.evaluation.model_manifest import check_files
from imer_ray.evaluation.predict import predict_protocol
from imer_ray.evaluation.tables import COVERAGE
from imer_ray.evaluation.validation_file import read_validation
from imer_ray.prediction import trained_folder
from imer_ray.prediction.calibration import Calibration, read_calibration
from imer_ray.prediction.clip import read_clip
from imer_ray.prediction.coverage import coverage
from imer_ray.prediction.model_card import NOT_FOR, card, together
from imer_ray.prediction.predictor import Predictor
from imer_ray.prediction.trained_folder import Measured
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.training.latents import load_dataset

SMALL = [
    *("system=zero", "data.num_train=64", "data.num_valid=40", "data.num_test=50", "encoder.latent_dim=8"),
    *(
        "data.dim_l=5",
        "data.dim_a=4",
        "data.dim_v=3",
        "training.encode.num_epochs=2",
        "training.recognise.num_epochs=2",
    ),
    *("speed.max_repeats=1", "speed.max_seconds=0", "speed.batch_size=4"),
]
FILES = {"README.md", "config.json", "config.yaml", "history.json", "metrics.csv", "model.safetensors", "shape.json"}
FILES |= {"validation.safetensors"}


def train(root: Path, config: ExperimentConfig, folder: Path, label: str) -> Measured:
    final = systems.graph(config, "test")
    metrics = run_graph(final, Store(root / "stages"))[-1].metrics
    return trained_folder.write(folder, final, config, str(root / "stages"), label, metrics)


@pytest.fixture(scope="module")
def config() -> ExperimentConfig:
    config = experiment(*SMALL)
    return replace(config, data_fingerprint=load_dataset(config).fingerprint)


@pytest.fixture(scope="module")
def trained(config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    """Two seeds of one model."""
    root = tmp_path_factory.mktemp("trained")
    return [train(root, replace(config, seed=seed), root / "tiny" / str(seed), "tiny") for seed in (1, 2)]


def test_a_folder_holds_all_that_a_prediction_needs_and_its_checksums(trained: list[Measured]) -> None:
    for one in trained:
        assert {path.name for path in one.folder.iterdir()} == FILES
        check_files(one.folder)
        shape = read_shape(one.folder)
        assert shape["dims"] == {"l": 5, "a": 4, "v": 3} and shape["label_kind"] == "regression"
    assert not list(trained[0].folder.parent.glob(".*")), "nothing half written is left"


def test_validation_predictions_are_the_models_own(trained: list[Measured], config: ExperimentConfig) -> None:
    dataset, folder = load_dataset(config), trained[0].folder
    read, opened = read_validation(folder), open_model(folder, config.protocol, {})
    again = predict_protocol(
        opened.model, dataset, "valid", config.protocol.build(), opened.inference, opened.seed, DEVICE
    )
    assert read is not None and np.array_equal(read.labels, dataset.labels("valid").numpy())
    for pattern in PATTERNS:
        assert np.array_equal(read.predictions[pattern], again[pattern].numpy()), pattern


def test_the_table_says_how_often_the_interval_of_the_mean_over_seeds_holds(
    trained: list[Measured], config: ExperimentConfig
) -> None:
    mean = trained_folder.mean_of_seeds(trained, "test")
    calibration, labels = read_calibration([one.folder for one in trained]), load_dataset(config).labels("test").numpy()
    assert calibration is not None
    for pattern in PATTERNS:
        values = np.mean([one.predictions[pattern].numpy() for one in trained], 0)
        low, high = calibration.interval(pattern, values)
        assert mean[f"test.{pattern}.{COVERAGE}"] == ((low <= labels) & (labels <= high)).mean()
        assert mean[f"test.{pattern}.MAE"] == pytest.approx(np.abs(values - labels).mean(), rel=1e-5)
    incomplete = [mean[f"test.{pattern}.{COVERAGE}"] for pattern in PATTERNS if pattern != "lav"]
    assert mean[f"test.{COVERAGE}"] == pytest.approx(np.mean(incomplete))


def test_a_predictor_answers_with_the_interval_and_chance_of_the_mean_over_seeds(
    trained: list[Measured], config: ExperimentConfig
) -> None:
    """And about clips of the test split what was scored there."""
    predictor, dataset = Predictor.open(trained[0].folder.parent), load_dataset(config)
    raw = {m: dataset.splits["test"].gather[m](torch.arange(3)).numpy() for m in "lv"}
    answers = predictor.predict([read_clip({m: x[row] for m, x in raw.items()}, predictor.reads) for row in range(3)])
    values = np.mean([one.predictions["lv"].double().numpy() for one in trained], 0)[:3]
    calibration = read_calibration([one.folder for one in trained])
    given = np.array([one.value for one in answers])
    assert calibration is not None and given == pytest.approx(values, abs=1e-5)  # of three clips, not of fifty
    ends = np.array([(one.low, one.high) for one in answers])
    assert np.array_equal(ends.T, calibration.interval("lv", given)) and (ends[:, 0] < ends[:, 1]).all()
    chances = [one.probability_positive for one in answers]
    assert chances == calibration.probability_positive("lv", given).tolist()


def test_one_seed_is_no_mean_over_seeds(trained: list[Measured]) -> None:
    assert trained_folder.mean_of_seeds(trained[:1], "test") == {}


def test_seeds_that_were_scored_with_modalities_of_their_own_away_have_no_mean(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    random = replace(experiment(*SMALL, "protocol=random"), data_fingerprint=config.data_fingerprint)
    some = [train(tmp_path, replace(random, seed=seed), tmp_path / str(seed), "tiny") for seed in (1, 2)]
    assert trained_folder.mean_of_seeds(some, "test") == {}
    assert 0 <= some[0].metrics[f"test.0.5.{COVERAGE}"] <= 1
    assert "| 0.5 |" in (tmp_path / "1/README.md").read_text()


def test_clips_are_covered_by_the_interval_of_what_is_left_of_them(config: ExperimentConfig) -> None:
    """Where a setting leaves every clip something else, and where it leaves one of them nothing."""
    dataset, protocol = load_dataset(config), experiment("protocol=random").protocol.build()
    labels = {"valid": dataset.labels("valid").numpy(), "test": dataset.labels("test")}
    rng = np.random.default_rng(0)
    predictions = {p: labels["valid"] + rng.normal(0, 0.1 * len(p) ** 3, 40) for p in PATTERNS}
    calibration = Calibration.of(labels["valid"], predictions, "regression")
    values = labels["test"] + torch.linspace(-1, 1, 50)
    values[3] = torch.nan
    found = coverage(calibration, {"0.5": values}, dataset, "test", protocol, 7)
    mask, within = protocol.mask("0.5", dataset.recorded("test"), "test", 7), []
    for row in range(50):
        if row != 3:
            pattern = "".join(m for m, there in zip("lav", mask[row].tolist(), strict=True) if there)
            (low,), (high,) = calibration.interval(pattern, values[row : row + 1].numpy())
            within.append(low <= float(labels["test"][row]) <= high)
    assert found == {f"test.{name}{COVERAGE}": np.mean(within) for name in ("0.5.", "", "worst.")}
    assert 0 < np.mean(within) < 1


def table_of(trained: list[Measured]) -> bytes:
    runs = {"tiny": [one.metrics for one in trained], together("tiny"): [trained_folder.mean_of_seeds(trained, "test")]}
    return trained_folder.csv(trained_folder.metrics_table(runs, "test"))


def test_every_figure_of_the_card_is_one_of_the_table(trained: list[Measured]) -> None:
    table = table_of(trained)
    text = trained_folder.card_of(table, "tiny", trained, others=[3])
    frame = pd.read_csv(io.BytesIO(table))
    numbers = {
        f"{value:.{digits}f}" for value in frame.select_dtypes("number").to_numpy().ravel() for digits in range(4)
    }
    sections = dict(re.findall(r"^## (.+?)\n(.+?)(?=\n## |\Z)", text, re.MULTILINE | re.DOTALL))
    rows = [line for line in sections["Quality"].splitlines() if line.startswith("|")]
    found = re.findall(r"-?\d+\.\d+", "\n".join(rows))
    assert len(found) > 16 * 5 and set(found) <= numbers
    speed = [line for line in sections["Speed"].splitlines() if re.match(r"\| \d", line)]
    assert len(speed) == 2 and speed[1].startswith("| 4 |")
    assert {cell.strip() for line in speed for cell in line.split("|")[2:5]} <= numbers
    changed = trained_folder.csv(frame.assign(MAE=77.125))
    assert "| 77.125 |" in trained_folder.card_of(changed, "tiny", trained, [])
    assert "seeds 1, 2; its answer is the mean over the seeds" in text and "not in these figures: seeds 3" in text


def test_the_cards_head_is_the_hubs_and_its_words_say_what_it_is_not_for(trained: list[Measured]) -> None:
    for text in (trained_folder.card_of(table_of(trained), "tiny", trained, []), card_text(trained[0].folder)):
        head, _, body = text.removeprefix("---\n").partition("---\n")
        content = yaml.safe_load(head)
        assert content["license"] == "unknown" and content["library_name"] == "imer_ray"
        assert content["metrics"] == ["accuracy", "f1", "mae"] and "missing-modalities" in content["tags"]
        assert "2024/1689" in NOT_FOR and "Article 5" in NOT_FOR and "Article 26" in NOT_FOR and NOT_FOR in body
        assert NOT_FOR.count(". ") == 0, "one sentence"
        assert read_config(trained[0].folder).data_fingerprint in body and "| `l`, language |" in body
        assert "CITATION.cff" in body and "## Licence" in body


def card_text(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_seeds_card_has_its_own_figures_and_no_interval_over_seeds(trained: list[Measured]) -> None:
    text, frame = card_text(trained[0].folder), pd.read_csv(trained[0].folder / "metrics.csv").set_index("Setting")
    assert f"| {frame.loc['la', COVERAGE]:.1f} |" in text and "One seed: how far others" in text
    assert not re.search(r"\d \[", text)


def test_what_a_model_of_two_classes_answers_is_said(trained: list[Measured]) -> None:
    one = trained[0]
    shape = {**read_shape(one.folder), "label_kind": "binary", "feature_names": {"l": "VADER", "a": None, "v": None}}
    metrics = {key: value for key, value in one.metrics.items() if key.rpartition(".")[2] not in ("MAE", "Corr")}
    table = trained_folder.csv(trained_folder.metrics_table({"two": [metrics]}, "test"))
    text = card(table, "two", one.config, shape, [1], ["la: few clips"])
    assert (
        "whether its sentiment is negative (below 0) or positive" in text and "MAE" not in text and "- mae" not in text
    )
    assert "| `l`, language | VADER | 5 | 8 |" in text and "- la: few clips" in text

"""Systems side by side, on models that were never trained but are real: same masks, same data, paired tests, tables."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from saved_models import save_model

from imer_ray.config.components import Component, option
from imer_ray.errors import UserError
from imer_ray.evaluation import comparison_table
from imer_ray.evaluation.comparison import Scored, check_same_masks, compare, cost_of, open_model, score_model
from imer_ray.evaluation.feature_latents import latents_of
from imer_ray.evaluation.model_collection import collect
from imer_ray.evaluation.predict import predict_protocol
from imer_ray.evaluation.tables import summarise
from imer_ray.results.text_encoder import SHAPES, SUFFIX, with_encoder
from imer_ray.training.latents import load_dataset

SEEDS = (1, 2)
FIXED = Component.of(option("protocol", "fixed"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of two seeds each, each with the baselines masked (the same weights) and zero (others)."""
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate(("ours", "theirs")):
        for seed in SEEDS:
            save_model(folder / name, seed, weights=number)
            save_model(folder / name / "baselines/masked", seed, recovers=False, weights=5)
            save_model(folder / name / "baselines/zero", seed, recovers=False, weights=6 + number)
    return folder


def test_baselines_are_listed_once_where_their_weights_are_the_same(models: Path) -> None:
    systems = collect([models / "ours", models / "theirs"])
    assert list(systems) == ["ours", "theirs", "masked", "zero", "zero (theirs)"]
    assert all(list(found) == list(SEEDS) for found in systems.values())
    assert systems["zero (theirs)"][2] == models / "theirs/baselines/zero/2"


def test_models_of_other_data_are_refused_and_those_of_one_name_told_apart(models: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "far", 1, "data.seed=3")
    with pytest.raises(UserError, match=r"far/1 was trained on other data .* than .*ours/1"):
        collect([models / "ours", tmp_path / "far"])
    save_model(tmp_path / "ours", 1)
    assert list(collect([models / "ours", tmp_path / "ours"]))[:2] == [f"{models.name}/ours", f"{tmp_path.name}/ours"]
    with pytest.raises(UserError, match="no trained model"):
        collect([tmp_path])


def scored(models: Path, name: str, seed: int, protocol: str) -> Scored:
    node = {**option("protocol", protocol), **({"rates": [0.0, 0.3, 0.7]} if protocol == "random" else {})}
    trained = open_model(models / name / str(seed), Component.of(node), {})
    return score_model(trained, "test", with_replicates=True)


@pytest.fixture(scope="module")
def runs(models: Path) -> dict[str, dict[int, Scored]]:
    names = {"ours": "ours", "masked": "ours/baselines/masked"}
    return {system: {s: scored(models, name, s, "random") for s in SEEDS} for system, name in names.items()}


def test_all_systems_read_the_same_masks_and_seeds_differ(runs: dict[str, dict[int, Scored]]) -> None:
    check_same_masks(runs)
    long = comparison_table.by_seed(runs, "test")
    per_setting = long[long["Setting"] != "mean"].groupby(["Seed", "Setting"])["Masks"]
    assert (per_setting.nunique() == 1).all()
    other = long[long["Setting"] == "0.3"].drop_duplicates("Seed")["Masks"]
    assert other.nunique() == len(SEEDS)
    changed = Scored({}, {}, {**runs["ours"][1].masks, "0.3": "other"}, {})
    with pytest.raises(ValueError, match="different masks at 0.3, seed 1"):
        check_same_masks({"ours": runs["ours"], "changed": {1: changed}})


def test_replicates_leave_clips_out(models: Path) -> None:
    """MAE is a mean over the clips of a setting, so that its replicates' mean is the metric itself."""
    found = scored(models, "ours", 1, "fixed")
    replicates = found.replicates["test.la.MAE"]
    assert len(replicates) == 50 and replicates.std() > 0
    # 60 clips in 50 groups: ten of two clips and forty of one, so the groups' weights differ a little
    assert replicates.mean() == pytest.approx(found.metrics["test.la.MAE"], rel=2e-3)


def test_comparison_is_antisymmetric_and_corrects_settings_but_not_their_mean(
    runs: dict[str, dict[int, Scored]],
) -> None:
    there, back = compare(runs["ours"], runs["masked"], "test"), compare(runs["masked"], runs["ours"], "test")
    assert there.keys() == back.keys()
    assert np.allclose([there[k] for k in there], [back[k] for k in there], equal_nan=True)
    one = {s: Scored(r.metrics, r.replicates, r.masks, {}) for s, r in runs["ours"].items() if s == 1}
    assert all(p == 1.0 for p in compare(one, runs["ours"], "test").values()), "a system does not differ from itself"
    assert compare({9: runs["ours"][1]}, runs["masked"], "test") == {}, "no seed in common"
    raw = {k: v for k, v in there.items() if k.endswith(".MAE")}
    assert raw.keys() >= {"test.MAE", "test.AUILC.MAE"} and "test.worst.MAE" not in raw
    assert len(raw) == 5 and 0 <= min(raw.values()) and max(raw.values()) <= 1


def test_recovered_latents_are_what_the_fusion_reads(models: Path) -> None:
    trained = open_model(models / "ours/1", FIXED, {})
    rows = pd.DataFrame(latents_of(trained, "test"))
    assert set(rows["Modality"]) == {"l", "a", "v"} and len(rows) == 180
    batch = trained.dataset.batch("test", rows[rows["Modality"] == "a"]["Clip"].tolist())
    latents, frames = trained.model.encoder(batch.features, batch.frames)
    assert np.allclose(np.stack(rows[rows["Modality"] == "a"]["True"]), latents[:, 1].mean(1), atol=1e-5)
    assert not np.allclose(np.stack(rows["True"]), np.stack(rows["Recovered"]), atol=0.1)
    baseline = open_model(models / "ours/baselines/masked/1", FIXED, {})
    assert latents_of(baseline, "test") == [], "nothing is recovered there"


def test_other_clips_are_standardised_as_the_training_clips_were(models: Path) -> None:
    """The same test clips beside other training clips, whose own statistics differ: the model must not notice."""
    protocol = FIXED
    own, other = (open_model(models / "ours/1", protocol, data) for data in ({}, {"num_train": 300}))
    assert not own.is_other_data and other.is_other_data
    assert not torch.allclose(load_dataset(other.config).statistics["l"][0], own.dataset.statistics["l"][0], rtol=1e-2)
    kept, read = (trained.dataset.batch("test", range(60)).features for trained in (own, other))
    for m in kept:
        assert torch.allclose(kept[m], read[m], atol=1e-5)
    ours, theirs = (score_model(trained, "test", with_replicates=False).metrics for trained in (own, other))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_model_of_before_reads_its_statistics_from_its_data_or_says_what_is_missing(tmp_path: Path) -> None:
    protocol = FIXED
    save_model(tmp_path / "old", 1)
    with_them = open_model(tmp_path / "old/1", protocol, {"num_train": 300})
    shape = json.loads((tmp_path / "old/1/shape.json").read_text())
    del shape["statistics"]
    (tmp_path / "old/1/shape.json").write_text(json.dumps(shape))
    (tmp_path / "old/1/config.json").unlink()
    again = open_model(tmp_path / "old/1", protocol, {"num_train": 300})
    assert torch.equal(*(t.dataset.batch("test", [3]).features["a"] for t in (with_them, again)))

    config = yaml.safe_load((tmp_path / "old/1/config.yaml").read_text())
    (tmp_path / "old/1/config.yaml").write_text(yaml.safe_dump({**config, "data_fingerprint": "0" * 64}))
    with pytest.raises(UserError, match="old/1 was saved without the statistics .* train it again"):
        open_model(tmp_path / "old/1", protocol, {"num_train": 300})


def test_other_data_that_do_not_fit_are_refused(models: Path) -> None:
    with pytest.raises(UserError, match="reads l 24, a 6, v 12 features, and these data have l 24, a 6, v 20"):
        open_model(models / "ours/1", FIXED, {"dim_v": 20})
    with pytest.raises(UserError, match="reads l 4, a 4, v 4 frames, and these data have l 5, a 5, v 5"):
        open_model(models / "ours/1", FIXED, {"num_frames": 5})


def test_a_clip_of_which_nothing_is_available_has_no_prediction(models: Path) -> None:
    trained = open_model(models / "ours/1", FIXED, {})
    part = trained.dataset.splits["test"]
    recorded = part.recorded.clone()
    recorded[2], recorded[5] = False, torch.tensor([True, False, False])
    splits = {**trained.dataset.splits, "test": replace(part, recorded=recorded)}
    given = (replace(trained.dataset, splits=splits), "test", FIXED.build(), trained.inference, trained.seed, "cpu")
    found = predict_protocol(trained.model, *given)
    without = {setting: torch.isnan(values).nonzero().flatten().tolist() for setting, values in found.items()}
    assert without == {"l": [2], "a": [2, 5], "v": [2, 5], "la": [2], "lv": [2], "av": [2, 5], "lav": [2]}


def result(level: float) -> dict[str, float]:
    return {"test.MAE": level, "test.a.MAE": level, "test.Non0_acc_2": 1 - level, "test.a.Non0_acc_2": 1 - level}


@pytest.fixture
def frame() -> pd.DataFrame:
    made = summarise({"ours": [result(0.30), result(0.32)], "masked": [result(0.4), result(0.4)]}, "test")
    p_values = {"ours": {"test.a.MAE": 0.01, "test.MAE": 0.2, "test.a.Non0_acc_2": 0.049}}
    made = comparison_table.with_p_values(made, p_values, "test")
    costs = {"ours": {"nfe": 4.0, "speedup_vs_imder": 123.4, "num_parameters": 1_250_000.0}}
    return comparison_table.with_costs(made, costs)


def test_the_table_marks_what_is_significant_and_lower_errors_as_better(frame: pd.DataFrame) -> None:
    accuracy, error = comparison_table.tables(frame, "masked")
    # t(0.975, 1 degree of freedom) = 12.706; 0.01 x 12.706 = 0.127
    assert "| ours | 69.0 ± 12.7 ▲ | 69.0 ± 12.7 | 4 | 123 | 1.25 |" in accuracy
    assert "| ours | 0.310 ± 0.127 ▲ | 0.310 ± 0.127 | 4 | 123 | 1.25 |" in error
    assert "| masked | 0.400 ± 0.000 | 0.400 ± 0.000 | – | – | – |" in error
    assert "▲" not in "".join(comparison_table.tables(frame, None))
    swapped = comparison_table.with_p_values(frame, {"masked": {"test.a.MAE": 0.01}}, "test")
    assert "| masked | 0.400 ± 0.000 ▼ |" in list(comparison_table.tables(swapped, "ours"))[1]


def test_published_rows_are_marked_and_without_interval(frame: pd.DataFrame) -> None:
    rows = pd.DataFrame(
        [{"Model": "IMDer [1]", "Setting": s, "MAE": 1.043, "Mult_acc_7": 31.4, "Source": "CyIN"} for s in ("a", "lav")]
    )
    joined = comparison_table.with_rows(frame, rows)
    assert len(joined) == len(frame) + 1 and "Mult_acc_7" not in joined, "what we did not measure stays out"
    assert "| IMDer [1] | 1.043 | – | – | – | – |" in list(comparison_table.tables(joined, "masked"))[1]


def test_speedups_say_what_a_text_encoder_leaves_of_them(frame: pd.DataFrame, tmp_path: Path) -> None:
    quick = ("speed.batch_size=2", "speed.max_repeats=1", "speed.max_seconds=0", "speed.reference_steps=1")
    save_model(tmp_path / "one", 1, "data.num_frames=8", *quick, recovers=False)
    found = cost_of(open_model(tmp_path / "one/1", FIXED, {}), "test")
    for column in SHAPES:
        assert found[column + SUFFIX] == pytest.approx(with_encoder(column, found[column], 8))
        assert 0 < found[column + SUFFIX] < min(found[column], 20)
    costs = {"ours": {"speedup_vs_imder": 123.4, "speedup_vs_imder" + SUFFIX: 2.94}, "masked": {}}
    noted = comparison_table.notes(comparison_table.with_costs(frame, costs), None)
    assert "× IMDer is of what follows the text encoder; with BERT-base on both sides: ours 2.9" in noted
    assert not any("text encoder" in line for line in comparison_table.notes(frame, None)), "it was not measured there"


def test_the_table_survives_its_csv(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = pd.read_csv(tmp_path / "t.csv", dtype={"Setting": str})
    assert list(comparison_table.tables(read, "masked")) == list(comparison_table.tables(frame, "masked"))
    assert math.isnan(read[read["Model"] == "masked"]["MAE_p"].iloc[0])

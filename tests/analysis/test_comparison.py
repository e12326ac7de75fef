"""Figures of compared systems: what they draw is what the files say."""

import copy
import json
import os

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from imer_ray.analysis import published as published_numbers
from imer_ray.analysis import settings_curve, systems
from imer_ray.analysis.figures import feature_map, losses, panels, scores
from imer_ray.analysis.published import CAUTION, MARK, published
from imer_ray.results.schema import UserError
from imer_ray.results.study import load

RATES = [f"{i / 10}" for i in range(8)]
PATTERNS = ["l", "a", "v", "la", "lv", "av", "lav"]


def table(settings, systems=("ours", "masked"), seeds=5):
    rows = [
        {
            "Model": system,
            "Setting": setting,
            "Seeds": seeds,
            **{f"{m}{end}": 70.0 + i - j + off for m in ("Non0_acc_2", "Non0_F1_score") for end, off in ENDS.items()},
        }
        for i, system in enumerate(systems)
        for j, setting in enumerate(["mean", *settings])
    ]
    return pd.DataFrame(rows)


ENDS = {"": 0.0, "_low": -1.5, "_high": 1.5}


def test_rates_have_a_line_with_its_band_per_system_and_panel():
    fig = scores.scores(table(RATES))
    assert len(fig.axes) == 2
    for ax, label in zip(fig.axes, ("ACC2 (%)", "F1 (%)"), strict=True):
        assert ax.get_ylabel() == label and len(ax.lines) == 2 and len(ax.collections) == 2
        np.testing.assert_allclose(ax.lines[1].get_xdata(), np.arange(8) / 10)
        np.testing.assert_allclose(ax.lines[1].get_ydata(), 71.0 - np.arange(1, 9))
        band = ax.collections[1].get_paths()[0].vertices
        assert band[:, 1].min() == 63.0 - 1.5 and band[:, 1].max() == 70.0 + 1.5
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["ours", "masked"]


def test_bars_rise_from_chance_with_their_intervals():
    fig = scores.scores(table(PATTERNS, ("ours", "bayes", "masked")))
    ax = fig.axes[0]
    bars = [patch for patch in ax.patches if patch.get_height()]
    assert len(fig.axes) == 2 and len(bars) == 2 * 8, "seven patterns and their mean; the optimum is a line"
    assert {bar.get_y() for bar in bars} == {50.0} and bars[0].get_height() == pytest.approx(70.0 - 1 - 50)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["ours", "masked", "Bayes optimum"]
    assert len({bar.get_facecolor() for bar in bars}) == 2


def test_published_numbers_are_drawn_apart():
    frame = pd.concat([table(RATES), published("mosi", "random").rows], ignore_index=True)
    fig = scores.scores(frame)
    names = [text.get_text() for text in fig.legends[0].get_texts()]
    assert "IMDer [1] published" in names and names[:2] == ["ours", "masked"]
    grey = [line for line in fig.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(grey) == frame[frame["Seeds"].isna()]["Model"].nunique()
    np.testing.assert_allclose(grey[0].get_ydata()[1:], [84.9, 83.5, 81.2, 78.6, 76.2, 74.7, 71.9])


@pytest.mark.parametrize("data", ["mosi", "mosei"])
@pytest.mark.parametrize("protocol", ["fixed", "random"])
def test_every_published_number_has_a_source_and_a_setting_of_the_protocol(data, protocol):
    found = published(data, protocol)
    assert set(found.rows["Setting"]) <= {"mean", *(RATES if protocol == "random" else PATTERNS)}
    assert found.rows["Source"].notna().all() and all(CAUTION in line for line in found.footnotes)
    assert not found.rows.duplicated(["Model", "Setting"]).any(), "sources are never mixed"
    numbers = {model.partition(" [")[2] for model in found.rows["Model"]}
    assert numbers == {f"{i}]" for i in range(1, len(found.footnotes) + 1)}
    percent = found.rows[["Non0_F1_score"]].dropna()
    assert percent["Non0_F1_score"].between(50, 100).all()


def test_published_means_are_those_of_their_patterns():
    rows = published("mosi", "fixed").rows
    imder = rows[rows["Model"] == "IMDer [1]"].set_index("Setting")["Non0_F1_score"]
    assert imder[["l", "a", "v", "la", "lv", "av"]].mean() == pytest.approx(imder["mean"], abs=0.05)
    assert published("synthetic", "fixed").rows.empty


def history(shift, epochs=4):
    return [{"loss": 2.0 - 0.3 * i + shift, **({"valid_loss": 2.5 + shift} if i == 3 else {})} for i in range(epochs)]


def test_training_curves_have_means_and_bands_over_seeds():
    own = [{"encode": history(s), "recognise": history(s)} for s in (0.0, 0.1)]
    fig = losses.training({"ours": own, "zero": [{"encode": h["encode"]} for h in own], "old": [{}]})
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["encode (shared)", "recognise"]
    line, band = fig.axes[1].lines[0], fig.axes[1].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(line.get_ydata(), 2.05 - 0.3 * np.arange(4))
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4])
    assert band[:, 1].max() == pytest.approx(2.1) and band[:, 1].min() == pytest.approx(1.1)
    assert losses.training({"old": [{}]}) is None


def test_seeds_that_stopped_early_are_compared_as_far_as_all_went():
    epochs, values = losses.spread([history(0.0, 3), history(0.1, 4)], "loss")
    assert epochs.tolist() == [1, 2, 3] and values.shape == (2, 3)


def test_principal_components_are_those_of_the_covariance():
    x = np.random.default_rng(0).normal(size=(200, 5)) @ np.diag([3, 2, 1, 0.5, 0.1])
    found = feature_map.plane(x)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    np.testing.assert_allclose(found.shares, values[:-3:-1] / values.sum(), rtol=1e-8)
    np.testing.assert_allclose(np.abs(found.axes @ vectors[:, :-3:-1]), np.eye(2), atol=1e-8)
    np.testing.assert_allclose(found.project(x).var(0, ddof=1), values[:-3:-1], rtol=1e-8)


def test_explained_variance_of_the_truth_its_mean_and_an_unrelated_draw():
    rng = np.random.default_rng(1)
    x, other = rng.normal(size=(2, 5000, 4))
    assert feature_map.explained(x, x) == 1.0
    assert feature_map.explained(x, np.broadcast_to(x.mean(0), x.shape)) == pytest.approx(0.0)
    assert feature_map.explained(x, other) == pytest.approx(-1.0, abs=0.05)


def latents(systems=("ours", "rohydr"), modalities="la"):
    rng = np.random.default_rng(2)
    keys = [(s, m, c) for s in systems for m in modalities for c in range(20)]
    return pd.DataFrame(
        [{"Model": s, "Modality": m, "Clip": c, "True": rng.normal(size=6), "Recovered": rng.normal(size=6)}
         for s, m, c in keys]
    )  # fmt: skip


def test_feature_maps_have_a_panel_per_system_and_modality_each_with_both_clouds():
    fig = feature_map.feature_maps(latents())
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert titles == ["ours: language", "ours: acoustic", "rohydr: language", "rohydr: acoustic"]
    assert all([len(c.get_offsets()) for c in ax.collections] == [20, 20] for ax in fig.axes)
    assert all("% of variance" in ax.get_xlabel() for ax in fig.axes)


def test_all_figures_are_written_beside_the_table(tmp_path):
    table(RATES).to_csv(tmp_path / "evaluate_random.csv", index=False)
    latents().to_parquet(tmp_path / "recovered.parquet")
    (tmp_path / "1111").mkdir()
    (tmp_path / "1111/history.json").write_text(json.dumps({"encode": history(0.0)}))
    drawn = systems.draw(tmp_path, "evaluate_random", {"ours": [tmp_path / "1111"], "old": [tmp_path]})
    assert drawn == ["evaluate_random", "training", "recovered"]
    for name in drawn:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / f"{name}.svg").read_text().count("<text") > 5
    (tmp_path / "1111/history.json").write_text("{")
    with pytest.raises(UserError, match="history.json is damaged"):
        systems.draw_training(tmp_path, {"ours": [tmp_path / "1111"]})


def test_a_settings_curve_is_the_mean_with_students_interval():
    values, quality = pd.Series([0.1, 0.1, 0.1, 1.0, np.nan]), pd.Series([0.6, 0.7, 0.65, 0.8, 0.9])
    found = settings_curve.curve(values, quality).set_index("x")
    low, high = stats.t.interval(0.95, 2, 0.65, stats.sem([0.6, 0.7, 0.65]))
    assert found.loc[0.1, ["mean", "low", "high"]].tolist() == pytest.approx([0.65, low, high])
    assert found.loc[1.0, "count"] == 1 and np.isnan(found.loc[1.0, "low"]) and len(found) == 2
    many = settings_curve.curve(pd.Series(np.arange(60.0)), pd.Series(np.arange(60.0)))
    assert many["count"].tolist() == [10] * 6 and many["mean"].is_monotonic_increasing


def test_panels_of_any_setting_and_an_unknown_one(run):
    study = load(run)
    assert settings_curve.weights_of(study) == ["loss.recovery"]
    fig = panels.panels(study, ["loss.recovery", "diffusion.sampler"])
    assert fig.axes[0].get_xscale() == "log" and len(fig.axes) == 2
    names = [tick.get_text() for tick in fig.axes[1].get_xticklabels()]
    assert names == sorted(study.points["config.diffusion.sampler"].unique())
    assert len(fig.axes[1].collections[0].get_offsets()) == len(study.points)
    with pytest.raises(UserError, match="no setting loss.lambda_x among its points"):
        settings_curve.checked(study, ["loss.lambda_x"])


DAMAGED_HISTORIES = {
    "no text": b"\xff\xfe\x00",
    "nested": b"[" * 5000,
    "a list": b"[]",
    "a text": b'{"encode": "loss"}',
    "no entries": b'{"encode": [1, 2]}',
    "no numbers": b'{"encode": [{"loss": "0.1"}]}',
    "beyond floats": b'{"encode": [{"loss": 1' + b"0" * 400 + b"}]}",
    "a formula": b'{"$\\\\frac{$": [{"loss": 0.1}]}',
    "a thousand stages": json.dumps({f"s{i}": [{"loss": 0.1}] for i in range(1000)}).encode(),
    "empty": b"",
}


@pytest.mark.parametrize("content", DAMAGED_HISTORIES.values(), ids=DAMAGED_HISTORIES)
def test_a_damaged_history_is_told_in_one_sentence(tmp_path, content):
    (tmp_path / "history.json").write_bytes(content)
    with pytest.raises(UserError, match=r"history\.json is damaged .* train again") as caught:
        systems.draw_training(tmp_path, {"ours": [tmp_path]})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_a_history_that_is_no_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "history.json"
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "loop": lambda: path.symlink_to(path)}[kind]()
    with pytest.raises(UserError, match=r"history\.json is damaged"):
        systems.draw_training(tmp_path, {"ours": [tmp_path]})


def test_losses_that_are_not_finite_are_drawn_as_far_as_they_are(tmp_path):
    values = [1.0, float("nan"), float("inf"), 1e30, 0.5]
    (tmp_path / "history.json").write_text(json.dumps({"encode": [{"loss": value} for value in values]}))
    assert systems.draw_training(tmp_path, {"ours": [tmp_path]}) == ["training"]


@pytest.mark.parametrize(("kind", "is_marked"), [("quoted", True), ("reproduced", False)])
def test_rows_of_code_that_chose_by_the_test_split_are_marked_and_say_so(monkeypatch, kind, is_marked):
    """Rows that others ran with code of their own are not, nor are systems of which nothing is known."""
    content = copy.deepcopy(published_numbers._content())
    content["sources"]["made"] = {"cite": "a table", "kind": kind}
    for system in (*content["marks"], "Other"):
        row = {"data": "made", "protocol": "fixed", "system": system, "source": "made"}
        content["tables"].append({**row, "settings": ["l"], "Non0_acc_2": [50.0]})
    monkeypatch.setattr(published_numbers, "_content", lambda: content)
    found = published("made", "fixed")
    marked = {f"{system}{MARK} [1]" for system in content["marks"]} if is_marked else set()
    assert {model for model in found.rows["Model"] if MARK in model} == marked and "Other [1]" in set(
        found.rows["Model"]
    )
    said = [line for line in found.footnotes if line.startswith(MARK)]
    assert len(said) == len(marked) and all("at commit" in line for line in said)


@pytest.mark.parametrize("data", ["mosi", "mosei"])
@pytest.mark.parametrize("protocol", ["fixed", "random"])
def test_no_mark_is_explained_that_stands_at_no_row(data, protocol):
    found = published(data, protocol)
    explained = {line.split(":")[0].removeprefix(f"{MARK} ") for line in found.footnotes if line.startswith(MARK)}
    assert explained == {model.split(MARK)[0] for model in found.rows["Model"] if MARK in model}

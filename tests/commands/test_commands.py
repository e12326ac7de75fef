"""The commands end to end, as a user runs them, on small synthetic clips and on real ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from small import ROOT, SMALL, command, run_here

import imer_ray
from imer_ray.config.resolve import tree_of
from imer_ray.errors import UserError
from imer_ray.evaluation.model_collection import check_same_settings
from imer_ray.results.timeline import read_timeline
from imer_ray.train import read_config

SEARCH = ["study.num_trials=3", "study.slots=2", *SMALL]  # each slot is a process that imports Tune


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search of three trials ran."""
    folder = tmp_path_factory.mktemp("study")
    done = command("search", *SEARCH, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len((done.stdout + done.stderr).splitlines()) <= 30
    return folder


def test_search_leaves_what_the_contract_names(study: Path) -> None:
    run = study / "runs/demo"
    for name in ("study.journal", "results.parquet", "config.yaml", "report/index.html", "report/pareto.png"):
        assert (run / name).stat().st_size > 0
    for pick in ("quality", "speed", "knee"):
        assert yaml.safe_load((run / f"export/{pick}.yaml").read_text())["config"]["system"] == "decoupled"
    frame = pd.read_parquet(run / "results.parquet")
    own = frame[frame["derived_from"].isna()]
    assert len(own) == 3 and set(frame["status"]) == {"complete"}
    assert len(frame) > 3, "other step counts of the same recognisers are points too"
    assert frame["valid.Non0_F1_score"].between(0, 1).all() and (frame["speedup_vs_imder"] > 0).all()
    assert (frame["seconds_reused"] > 0).any(), "trials share encode"
    assert frame["proposed_by"].isin(["given", "start-up"]).all(), "a searcher has no say in the first three"
    assert (study / "runs/stages").is_dir()


def test_the_timeline_has_what_every_trial_stands_on(study: Path) -> None:
    rows = read_timeline(study / "runs/demo/timeline.parquet")
    frame = pd.read_parquet(study / "runs/demo/results.parquet")
    for _, row in frame.iterrows():
        for name, key in json.loads(row["stages"]).items():
            assert any(r["key"] == key and f"demo-{row['trial']}" in r["waiters"] for r in rows), name
    computed = [r for r in rows if r["status"] == "computed"]
    assert len(computed) == len({r["key"] for r in computed}), "each stage once"
    assert frame["seconds_computed"].sum() <= sum(r["seconds"] for r in computed) + 1e-6
    assert "baseline-zero" in {waiter for r in rows for waiter in r["waiters"]}
    trials = {f"trial-{number:04}" for number in frame["trial"]}
    assert {path.name for path in (study / "runs/demo/tensorboard").iterdir()} == {"study", *trials}
    assert "What ran where" in (study / "runs/demo/report/index.html").read_text()


def test_the_same_search_again_is_complete(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study)
    run_here("search", *SEARCH)
    assert "complete (3 trials)" in capsys.readouterr().out


@pytest.mark.slow
def test_python_and_the_console_search_alike(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages are shared, so that what was measured is the same too; each asks for them by itself."""
    monkeypatch.chdir(tmp_path)
    words = [*SEARCH, f"study.stages={study / 'runs/stages'}"]
    found = imer_ray.search(*words, "study.name=python")
    done = command("console", "search", *words, "study.name=console", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = ["study", "started", "finished", "host", "executors", "seconds_reused", "seconds_computed"]
    first, *others = (
        pd.read_parquet(folder / "results.parquet")
        .drop(columns=told)
        .sort_values(["trial", "point"], ignore_index=True)
        for folder in (study / "runs/demo", found.folder, tmp_path / "runs/console")
    )
    for other in others:
        pd.testing.assert_frame_equal(first, other)


NOTEBOOK = """
import imer_ray
study = imer_ray.search("study.num_trials=3", *SMALL)
front, picks = study.front, study.picks
picture = study.plot()
config = study.config("knee")
models = imer_ray.train(config, "scaling.train_stages=[]", "baselines=[]", seeds=[1111], output="models/notebook")
model = imer_ray.load_model("models/notebook")
table = imer_ray.evaluate(model)
predictions = models[0].predict(split="valid", available="lv")
"""


@pytest.mark.slow
def test_a_notebook_goes_from_a_search_to_predictions(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    cells: dict[str, Any] = {"SMALL": SMALL}
    exec(NOTEBOOK, cells)
    exported = yaml.safe_load((study / "runs/demo/export/knee.yaml").read_text())["config"]
    assert tree_of(cells["config"]) == exported
    predictions, model = cells["predictions"], cells["model"]
    assert len(predictions) == 64 and set(predictions["available"]) == {"lv"}
    assert predictions["value"].notna().all() and predictions["spread"].isna().all()
    of_test = model.predict(split="test")
    for pattern in ("a", "lv", "lav"):  # the very predictions that were scored
        some = of_test[(of_test["available"] == pattern) & of_test["label"].ne(0)]
        right = 100 * ((some["value"] > 0) == (some["label"] > 0)).mean()
        (row,) = cells["table"].query(f"Model == 'notebook' and Setting == '{pattern}'").to_dict("records")
        assert right == pytest.approx(row["Non0_acc_2"])
    with pytest.raises(UserError, match="split='val': did you mean valid"):
        model.predict(split="val")
    with pytest.raises(UserError, match="available='xl'"):
        model.predict(available="xl")


@pytest.mark.slow
def test_a_larger_search_extends(study: Path, tmp_path: Path) -> None:
    study = shutil.copytree(study, tmp_path / "copy")
    done = command("search", "study.num_trials=4", *SMALL, cwd=study)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(study / "runs/demo/results.parquet")
    assert frame["derived_from"].isna().sum() == 4


def test_another_space_or_configuration_is_refused(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    Path("other.yaml").write_text("diffusion.num_steps: {int: [2, 4]}\n")
    with pytest.raises(UserError, match="space"):
        run_here("search", "space=other.yaml", "study.num_trials=5", *SMALL)
    with pytest.raises(UserError, match="training.recognise.num_epochs"):
        run_here("search", "study.num_trials=5", *SMALL, "training.recognise.num_epochs=3")


@pytest.mark.slow
def test_an_artefact_with_a_wrong_checksum_is_rebuilt(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(study, folder)
    damaged = 0
    for path in (folder / "runs/stages").glob("*/encoder.safetensors"):
        path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)
        damaged += 1
    assert damaged > 0
    done = command("search", "study.num_trials=6", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert set(pd.read_parquet(folder / "runs/demo/results.parquet")["status"]) == {"complete"}


def test_export_by_trial_and_under_a_budget(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    frame = pd.read_parquet(study / "runs/demo/results.parquet")
    budget = float(frame["latency_ms_b1"].median())
    run_here("export", f"max_latency_ms={budget}", "output=budget.yaml")
    within = frame[frame["latency_ms_b1"] <= budget]
    measured = yaml.safe_load((study / "budget.yaml").read_text())["imer_ray"]["measured"]
    assert measured["valid.Non0_F1_score"] == pytest.approx(within["valid.Non0_F1_score"].max())
    run_here("export", "pick=1")
    exported = yaml.safe_load((study / "runs/demo/export/trial_1.yaml").read_text())
    row = frame[(frame["trial"] == 1) & frame["derived_from"].isna()].iloc[0]
    assert exported["config"] == json.loads(row["config"])
    with pytest.raises(UserError, match="trial 99"):
        run_here("export", "pick=99")
    with pytest.raises(UserError, match="the fastest takes"):
        run_here("export", "max_latency_ms=0.000001")


def test_train_and_evaluate_the_exported_pick(
    study: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study)
    words = ["seeds=[1111,1112]", "baselines=[zero,masked,mixture]", "scaling.train_stages=[]"]
    run_here("train", "config=runs/demo/export/knee.yaml", *words)
    said = capfd.readouterr().out
    table = pd.read_csv(study / "models/knee/metrics.csv")
    assert set(table["Model"]) == {"knee", "knee (mean of seeds)", "zero", "masked", "mixture", "bayes"}
    assert 0 < len(said.splitlines()) <= 30 and "mean of seeds" not in said
    measured = table[table["Model"] != "bayes"]
    assert measured["coverage_90"].between(0, 100).all() and (table["latency_ms_b1"].dropna() > 0).all()
    assert "its answer is the mean over the seeds" in (study / "models/knee/README.md").read_text()
    table = table[table["Model"] != "knee (mean of seeds)"]
    one_missing = table[(table["Model"] == "bayes") & table["Setting"].isin(["la", "lv", "av"])]
    assert one_missing["gap_closed"].tolist() == pytest.approx([100.0] * 3)
    assert set(table["Setting"]) == {"mean", "worst", "l", "a", "v", "la", "lv", "av", "lav"}
    assert (table["Seeds"] == 2).all() and table["Non0_acc_2"].between(0, 100).all()
    assert (study / "models/knee/1112/model.safetensors").exists()
    run_here("evaluate", "model=models/knee", "protocol=fixed")
    again = pd.read_csv(study / "models/knee/evaluate_fixed.csv")
    merged = table.merge(again, on=["Model", "Setting"], suffixes=("", "_again"))
    assert len(merged) == len(table)
    assert merged["Non0_acc_2"].tolist() == pytest.approx(merged["Non0_acc_2_again"].tolist())
    assert again[again["Model"] != "bayes"]["speedup_vs_imder"].gt(0).all()
    seeds = pd.read_csv(study / "models/knee/evaluate_fixed_seeds.csv")
    masks = seeds[~seeds["Setting"].isin(["mean", "worst"])].groupby(["Seed", "Setting"])["Masks"].nunique()
    assert len(masks) == 14 and (masks == 1).all(), "all systems read the same modalities of the same clips"
    for name in ("evaluate_fixed", "training"):
        assert (study / f"models/knee/{name}.png").stat().st_size > 20_000
    # Which candidate is the knee, time decides: one of them recovers nothing.
    diffusion = yaml.safe_load((study / "runs/demo/export/knee.yaml").read_text())["config"]["diffusion"]
    recovers = {diffusion["prior"]["name"], diffusion["backbone"]["name"]} != {"none"}
    assert (study / "models/knee/recovered.png").exists() == recovers
    check_same_settings(Path("models/knee"), read_config(Path("runs/demo/export/knee.yaml"), {}, {}))
    with pytest.raises(UserError, match=r"models/knee holds models of another configuration \(loss.recovery "):
        run_here("train", "config=runs/demo/export/knee.yaml", "settings.loss.recovery=0.123")
    shutil.copytree("models/knee/1111", "alone/knee/1111")
    run_here("evaluate", "model=alone/knee", "protocol=random")
    assert "0.7" in (study / "alone/knee/evaluate_random.md").read_text()


def made(stages: Path) -> dict[str, str]:
    """Stage's key -> when it was computed (the files' own times say when they were last used)."""
    return {path.parent.name: json.loads(path.read_text())["finished"] for path in stages.glob("*/artefact.json")}


@pytest.mark.slow
def test_sigkill_keeps_completed_trials_and_stages(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "imer_ray.search", "study.num_trials=4", "study.slots=1", *SMALL]
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, start_new_session=True)
    results = tmp_path / "runs/demo/results.parquet"
    deadline = time.monotonic() + 240
    while not (results.exists() and len(pd.read_parquet(results))) and time.monotonic() < deadline:
        assert process.poll() is None, "the search ended before it could be killed"
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = pd.read_parquet(results)
    finished = made(tmp_path / "runs/stages")
    done = command("search", "study.num_trials=4", "study.slots=1", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = pd.read_parquet(results)
    assert after["derived_from"].isna().sum() == 4
    kept = after.merge(before, on=["trial", "point"], suffixes=("", "_before"))
    assert len(kept) == len(before)
    assert kept["finished"].tolist() == kept["finished_before"].tolist()
    assert len(finished) > 5 and finished.items() <= made(tmp_path / "runs/stages").items()

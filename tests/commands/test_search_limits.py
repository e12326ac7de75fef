"""Searches that a budget ends, and what the next command makes of them; points of the front run with further seeds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small import SMALL, command

QUIET = ["study.speed=flops", "study.loggers=[]"]
pytestmark = pytest.mark.slow


def search(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return command("search", *SMALL, *QUIET, *overrides, cwd=folder, timeout=290)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search of two trials ran."""
    folder = tmp_path_factory.mktemp("study")
    done = search(folder, "study.num_trials=2")
    assert done.returncode == 0, done.stderr
    assert "then a first point needs encode, " in done.stdout
    assert len(done.stdout.splitlines()) <= 30
    return folder


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "runs/demo/results.parquet").set_index(["trial", "point", "repeat"])


def test_a_search_that_time_ends_is_whole_and_goes_on(study: Path) -> None:
    before = rows(study)
    ended = search(study, "study.num_trials=500", "study.max_seconds=30")
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()[-1]
    assert said.endswith(" of 500 trials: study.max_seconds=30 is reached; run the same command again to go on")
    after = rows(study)
    num_done = len(after.groupby("trial"))
    assert said.startswith(f"ended after {num_done} of 500 trials") and 2 <= num_done < 500
    assert set(after["status"]) == {"complete"}, "a trial that was cut off has not failed"
    assert after.loc[before.index, "config"].equals(before["config"])
    assert (study / "runs/demo/report/index.html").stat().st_size > 0

    went_on = search(study, f"study.num_trials={num_done + 1}")
    assert went_on.returncode == 0, went_on.stderr
    finally_there = rows(study)
    assert finally_there.loc[after.index, "config"].equals(after["config"])
    assert sorted(set(finally_there.index.get_level_values("trial"))) == list(range(num_done + 1))


def test_without_any_result_it_says_so_and_fails(tmp_path: Path) -> None:
    done = search(tmp_path, "study.max_seconds=1")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith(
        "error: study.max_seconds=1 is reached; run the same command again to go on; no trial"
    )


def test_a_space_that_is_exhausted_and_trials_that_failed_are_told(tmp_path: Path) -> None:
    """Of four configurations two diverge, in a stage beside which the cost is measured."""
    rates = "training.recognise.learning_rate: {choice: [0.003, 1e12]}\nloss.recovery: {choice: [0.1, 1e30]}\n"
    (tmp_path / "four.yaml").write_text(rates)
    done = search(tmp_path, "space=four.yaml", "study.num_trials=8", "study.slots=2", "evaluate.max_points=1")
    assert done.returncode == 0, done.stderr
    failures, end = done.stdout.splitlines()[-2:]
    assert (
        end == "ended after 4 of 8 trials: the space four.yaml has no further configuration than the 4 that are known"
    )
    assert "2 of 4 trials failed; trial " in failures and "stage recognise failed: NonFiniteError: " in failures
    assert failures.endswith("so that study.retry_failed=true runs none of them again")
    frame = rows(tmp_path)
    errors = frame["error"].dropna()
    assert len(errors) == 2 and errors.str.startswith("stage recognise failed: NonFiniteError: ").all()


def test_what_was_paid_is_known_to_the_next_command(study: Path) -> None:
    paid = ["scaling.dollars_per_hour={local: 3600}", "study.max_cost=15", "study.num_trials=500"]  # a dollar a second
    ended = search(study, *paid)
    assert ended.returncode == 0, ended.stderr
    assert "study.max_cost=15 is reached: " in ended.stdout.splitlines()[-1]
    num_done = len(rows(study).groupby("trial"))
    again = search(study, *paid)
    assert f"ended after {num_done} of 500 trials: study.max_cost=15 is reached: " in again.stdout.splitlines()[-1]


def test_points_of_the_front_get_further_seeds_once(study: Path) -> None:
    num_done = len(rows(study).groupby("trial"))
    done = search(study, f"study.num_trials={num_done}", "study.repeats=1", "study.slots=2")
    assert done.returncode == 0, done.stderr
    frame = rows(study)
    repeated = frame[frame.index.get_level_values("repeat") == 1]
    assert len(repeated) and (repeated["seed"] == 1112).all() and set(repeated["status"]) == {"complete"}
    for (trial, point, _), row in repeated.iterrows():
        own = frame.loc[(trial, point, 0)]
        assert json.loads(row["config"]) == {**json.loads(own["config"]), "seed": 1112}
        assert row["flops_per_clip"] == own["flops_per_clip"]
        keys, own_keys = json.loads(row["stages"]), json.loads(own["stages"])
        assert all(keys[name] != own_keys[name] for name in ("encode", "recognise", "evaluate"))
    quality = yaml.safe_load((study / "runs/demo/export/quality.yaml").read_text())
    assert quality["imer_ray"]["num_seeds"] == 2 and quality["config"]["seed"] == 1111
    assert "95 %" in done.stdout
    again = search(study, f"study.num_trials={num_done}", "study.repeats=1")
    assert "is complete" in again.stdout and rows(study)["config"].equals(frame["config"])


def test_with_costs_first_no_trial_breaks_a_constraint_on_its_cost(tmp_path: Path) -> None:
    settings = ["study.cost_first=3", "study.num_startup_trials=2", "study.num_trials=5", "evaluate.max_points=1"]
    done = search(tmp_path, *settings, 'study.constraints=["nfe <= 4"]')
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path)
    assert len(found) == 5 and found["nfe"].max() <= 4 and found["feasible"].all()

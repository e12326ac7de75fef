"""Commands that are told to end while they compute: in time, with one line, and what was done is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from saved_models import save_model
from small import ROOT, SMALL, command

from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of

pytestmark = pytest.mark.slow
LONG = "training.recognise.num_epochs=100000"
SECONDS = 60.0  # that a command gets to end; an epoch here takes a tenth of a second, and Ray's processes some to stop


def begin(name: str, *overrides: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", f"imer_ray.{name}", *overrides]

    def heed() -> None:  # what a shell ignores for what it starts with &
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        words, cwd=cwd, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True, preexec_fn=heed
    )


def end(process: subprocess.Popen[str], number: int) -> str:
    """Send the signal; what the command then said on stderr."""
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    return err


@pytest.fixture
def pick(tmp_path: Path) -> Path:
    path = tmp_path / "pick.yaml"
    overrides = [word for word in SMALL if not word.startswith("scaling.")]
    path.write_text(yaml.safe_dump({"config": tree_of(compose(ExperimentConfig, "experiment", overrides))}))
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_ended_leaves_the_models_that_were_done(tmp_path: Path, pick: Path, number: int) -> None:
    words = [f"config={pick}", "seeds=[1111]", "scaling.train_stages=[]", "baselines=[zero]"]
    with begin("train", *words, f"settings.{LONG}", cwd=tmp_path) as process:
        said = process.stdout.readline()
        while said and not said.startswith("1 of 2: zero"):
            said = process.stdout.readline()
        assert said, process.stderr.read()
        assert end(process, number).count("\n") == 1
    models = sorted(path.parent.relative_to(tmp_path) for path in tmp_path.rglob("model.safetensors"))
    assert models == [Path("models/pick/baselines/zero/1111")]


def test_a_search_that_is_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    words = [*SMALL, "study.loggers=[]", "study.speed=flops", "study.num_trials=2", "study.slots=1"]
    with begin("search", *words, LONG, cwd=tmp_path) as process:
        while process.poll() is None and "encode" not in finished_stages(tmp_path / "runs/stages"):
            time.sleep(0.2)
        assert process.poll() is None, process.stderr.read()
        assert end(process, signal.SIGTERM).count("\n") == 1
    assert not (tmp_path / "runs/demo/baselines.json").exists()
    done = command("search", *words, "study.max_seconds=1", LONG, cwd=tmp_path)  # it is not damaged
    assert "study demo: 0 of 2 trials done" in done.stdout and "study.max_seconds=1 is reached" in done.stderr


def test_a_prediction_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    save_model(tmp_path / "model", 1)
    (tmp_path / "clips.jsonl").write_text(f'{{"l": {[[0.5] * 24] * 4}}}\n' * 200_000)
    words = ["model=model", "input=clips.jsonl", "output=x.csv", "batch_size=16"]
    with begin("predict", *words, cwd=tmp_path) as process:
        while process.poll() is None and not list(tmp_path.glob(".x.csv.*")):
            time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
        assert end(process, signal.SIGTERM).count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.jsonl", "model"]


def finished_stages(root: Path) -> set[str]:
    return {json.loads(path.read_text())["stage"]["name"] for path in root.glob("*/artefact.json")}


def test_one_training_that_fails_does_not_cost_the_others(tmp_path: Path, pick: Path) -> None:
    words = [f"config={pick}", "seeds=[1111]", "scaling.train_stages=[]", "baselines=[zero]"]
    done = command("train", *words, "settings.training.recognise.learning_rate=1e12", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: 1 of 2 trainings failed; the models of the other 1 were written; decoupled")
    assert (tmp_path / "models/pick/baselines/zero/1111/model.safetensors").exists()

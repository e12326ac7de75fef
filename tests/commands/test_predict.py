"""A model that was trained predicts the clips of a file, as a user has it done: from a folder that has nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from small import SMALL, command

import imer_ray
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of
from imer_ray.data.missing import MODALITIES

pytestmark = pytest.mark.slow


def test_what_was_trained_predicts_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose(ExperimentConfig, "experiment", [word for word in SMALL if not word.startswith("scaling.")])
    Path("pick.yaml").write_text(yaml.safe_dump({"config": tree_of(config)}))
    done = command(
        *("train", "config=pick.yaml", "seeds=[1,2]", "baselines=[]", "scaling.train_stages=[]", "output=trained"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    expected = {
        pattern: imer_ray.load_model("trained").predict(split="test", available=pattern) for pattern in ("lav", "a")
    }

    alone = tmp_path / "alone"
    shutil.copytree("trained", alone / "model")
    part = config.data.build().load().splits["test"]
    features = {m: part.gather[m](torch.arange(64)).numpy() for m in MODALITIES}
    np.savez(alone / "clips.npz", **features)
    with open(alone / "clips.jsonl", "w", encoding="utf-8") as file:
        for i in range(64):
            file.write(json.dumps({"id": f"c{i}", "a": features["a"][i].tolist()}) + "\nnothing\n")
    for name, pattern, ids in (("npz", "lav", range(64)), ("jsonl", "a", [f"c{i}" for i in range(64)])):
        done = command("predict", "model=model", f"input=clips.{name}", f"output={name}.csv", cwd=alone)
        assert done.returncode == 0 and done.stderr == ""
        assert len(done.stdout.splitlines()) <= 6
        found = pd.read_csv(alone / f"{name}.csv")
        assert list(found["id"]) == list(ids)
        np.testing.assert_allclose(found["value"], expected[pattern]["value"], rtol=0, atol=1e-6)
    assert len(pd.read_csv(alone / "jsonl.csv.rejected.csv")) == 64
    again = command("predict", "model=model", "input=clips.npz", "output=npz.csv", cwd=alone)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "error: output=npz.csv already exists; choose another name or remove it\n"

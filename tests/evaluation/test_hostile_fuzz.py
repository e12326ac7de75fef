"""Spoilt models and exports from a fixed seed: each is read, or refused in one sentence within bounds of memory and
time, and none runs or writes anything."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from spoiling import bounded, check_sentence, mutate_bytes, mutate_header, mutate_tree, save_unsigned

from imer_ray.config.components import Component, option
from imer_ray.errors import UserError
from imer_ray.evaluation.comparison import open_model, score_model
from imer_ray.evaluation.model_folder import CONFIG, SHAPE, WEIGHTS
from imer_ray.train import read_config


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_unsigned(tmp_path_factory.mktemp("models"))


def mutate(model: Path, config: Any, r: random.Random) -> None:
    """Spoil one file of a model's folder, whose configuration is ``config``."""
    kind = r.random()
    if kind < 0.45:
        tree = copy.deepcopy(config)
        for _ in range(r.choice([1, 1, 2, 5])):
            mutate_tree(tree, r)
        (model / CONFIG).write_text(yaml.safe_dump(tree))
    elif kind < 0.6:
        (model / CONFIG).write_bytes(mutate_bytes((model / CONFIG).read_bytes(), r, 2000))
    elif kind < 0.75:
        shape = json.loads((model / SHAPE).read_bytes())
        mutate_tree(shape, r)
        (model / SHAPE).write_text(json.dumps(shape, default=str, skipkeys=True))
    elif kind < 0.8:
        (model / SHAPE).write_bytes(mutate_bytes((model / SHAPE).read_bytes(), r, 100))
    elif kind < 0.9:
        (model / WEIGHTS).write_bytes(mutate_header((model / WEIGHTS).read_bytes(), r))
    else:
        (model / WEIGHTS).write_bytes(mutate_bytes((model / WEIGHTS).read_bytes(), r, 3000))


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_spoilt_models_are_read_or_refused_in_one_sentence(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.chdir(tmp_path)
    config, protocol, refused = (
        yaml.safe_load((original / CONFIG).read_bytes()),
        Component.of(option("protocol", "fixed")),
        0,
    )
    for number in range(count):
        model = tmp_path / "sent"
        shutil.copytree(original, model)
        mutate(model, config, random.Random(number))
        with bounded():
            try:
                score_model(open_model(model, protocol, {}), "test", with_replicates=False)
            except UserError as error:
                check_sentence(error, model)
                refused += 1
            except BaseException as error:
                raise AssertionError(f"input {number}: {error!r}") from error
        shutil.rmtree(model)
    assert 2 * count / 3 < refused < count and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_hundred_spoilt_exports_are_read_or_refused_in_one_sentence(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export = {"imer_ray": {"version": "0", "trial": 1}, "config": yaml.safe_load((original / CONFIG).read_bytes())}
    content, path, refused = yaml.safe_dump(export).encode(), tmp_path / "sent.yaml", 0
    for number in range(100):
        r = random.Random(number)
        if r.random() < 0.6:
            tree = copy.deepcopy(export)
            for _ in range(r.choice([1, 1, 2, 5])):
                mutate_tree(tree, r)
            path.write_text(yaml.safe_dump(tree))
        else:
            path.write_bytes(mutate_bytes(content, r, 2000))
        with bounded():
            try:
                read_config(path, {}, {})
            except UserError as error:
                check_sentence(error, path)
                refused += 1
            except BaseException as error:
                raise AssertionError(f"input {number}: {error!r}") from error
    assert 50 < refused < 100 and list(tmp_path.iterdir()) == [path]

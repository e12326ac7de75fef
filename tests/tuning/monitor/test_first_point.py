"""How far a study's first point is, in words: from what is there, and what its stages took before."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from toy_systems import decoupled

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.stages.manifest import FILE_NAME, Manifest
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.tuning.monitor.first_point import MAX_LOOKED_AT, FirstPoint, past_seconds

TOOK = {"encode": 10.0, "pretrain": 20.0, "evaluate": 3.0}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "stages")
    store.prepare()
    return store


def final(base, seed):
    works = {**base["loss"], "recovery": 0.6}  # see toy_systems.stages
    return decoupled.graph(typed({**base, "seed": seed, "loss": works}, ExperimentConfig), "valid")


def computed(store, stage):
    """The graph's stages are in the store, each as if it had taken the seconds in ``TOOK``."""
    for result in run_graph(stage, store):
        path = store.open(result.key).folder / FILE_NAME
        manifest = Manifest.from_json(path.read_bytes())
        path.write_bytes(replace(manifest, seconds=TOOK[result.name]).to_json())


def test_nothing_is_foretold_where_nothing_was_computed(base, store):
    first = FirstPoint(final(base, seed=1), store)
    assert first.announcement() == (
        "Ray is started, then a first point needs encode, pretrain, evaluate: how long they take is not known here yet"
    )
    assert str(first) == "0 of 3 stages done"


def test_what_such_stages_took_before_is_foretold_and_shrinks_as_they_end(base, store):
    computed(store, final(base, seed=1))
    stage = final(base, seed=2)
    first, (encode, pretrain, evaluate) = FirstPoint(stage, store), stage.in_order()
    assert first.announcement().endswith(
        "encode, pretrain, evaluate: about 33 s of computing, as such stages took before"
    )
    runs = [{"run": "1", "key": encode.key, "kind": "encode", "status": "running", "seconds": 0.0}]
    first.follow(runs)
    assert str(first) == "0 of 3 stages done, about 33 s of computing left"
    runs[0] |= {"status": "computed", "seconds": 40.0}
    first.follow(runs)
    first.follow(runs)
    assert str(first) == "1 of 3 stages done, about 23 s of computing left"
    first.follow([{**runs[0], "run": key, "key": key} for key in (pretrain.key, evaluate.key)])
    assert first.missing == [] and first.seconds == 0.0


def test_what_stages_took_on_other_data_says_nothing(base, store):
    computed(store, stage := final(base, seed=1))
    assert past_seconds(store, {stage.data}) == {name: [seconds] for name, seconds in TOOK.items()}
    assert past_seconds(store, {"another"}) == {}


def test_what_is_there_already_takes_nothing(base, store):
    computed(store, final(base, seed=1))
    assert FirstPoint(final(base, seed=1), store).announcement().startswith("the stages of a first point are there")


def test_an_artefact_that_cannot_be_read_says_nothing_and_old_ones_are_left_alone(base, store):
    computed(store, stage := final(base, seed=1))
    for key in (one.key for one in stage.in_order()):
        os.utime(store.open(key).folder / FILE_NAME, (0, 0))
    for number in range(MAX_LOOKED_AT):
        folder = Path(store.root) / f"damaged{number}"
        folder.mkdir()
        (folder / FILE_NAME).write_text("{")
    assert past_seconds(store, {stage.data}) == {}

"""A folder alone answers about clips: as `evaluate` does, whatever else is in the batch, in any order and padding."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from saved_models import save_model

import imer_ray
from imer_ray import convert, export
from imer_ray.config.components import Component, option
from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import PATTERNS
from imer_ray.evaluation.comparison import DEVICE, open_model
from imer_ray.evaluation.predict import predict_protocol
from imer_ray.prediction.predictor import Predictor

SEEDS = (1, 2)
SETTINGS = ("diffusion.num_steps=3", "diffusion.num_draws=2", "diffusion.sampler=ddim", "diffusion.sampler.eta=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two seeds, that draws noise at every step."""
    folder = tmp_path_factory.mktemp("models") / "ours"
    for seed in SEEDS:
        save_model(folder, seed, *SETTINGS)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return open_model(folder / "1", Component.of(option("protocol", "fixed")), {}).dataset


@pytest.fixture(scope="module")
def model(folder: Path) -> imer_ray.Model:
    return imer_ray.load_model(folder)


def clip_of(dataset: Dataset, row: int, pattern: str = "lav") -> dict[str, np.ndarray]:
    part = dataset.splits["test"]
    return {m: part.gather[m](torch.tensor([row]))[0].numpy() for m in pattern}


def values(model: imer_ray.Model, clips: Sequence[dict[str, np.ndarray]]) -> list[float]:
    return [prediction.value for prediction in model.predict(clips)]


def test_a_folder_predicts_to_the_bit_what_evaluate_does(folder: Path, dataset: Dataset, model: imer_ray.Model) -> None:
    protocol = Component.of(option("protocol", "fixed"))
    by_seed = []
    for seed in SEEDS:
        trained = open_model(folder / str(seed), protocol, {})
        given = (trained.dataset, "test", protocol.build(), trained.inference, trained.seed, DEVICE)
        by_seed.append(predict_protocol(trained.model, *given))
        own = imer_ray.load_model(folder / str(seed))
        for pattern in PATTERNS:
            clips = [clip_of(dataset, row, pattern) for row in range(dataset.size("test"))]
            assert values(own, clips) == by_seed[-1][pattern].tolist()
    for pattern in PATTERNS:
        clips = [clip_of(dataset, row, pattern) for row in range(dataset.size("test"))]
        found = model.predict(clips)
        expected = np.mean([one[pattern].double().numpy() for one in by_seed], axis=0)
        assert [prediction.value for prediction in found] == expected.tolist()
        assert {prediction.available for prediction in found} == {pattern}
        table = model.predict(split="test", available=pattern)
        np.testing.assert_array_equal(table["value"], expected)


def test_it_says_what_it_read_and_recovered(model: imer_ray.Model, dataset: Dataset) -> None:
    whole, language = model.predict([clip_of(dataset, 0), clip_of(dataset, 0, "l")])
    assert (whole.available, whole.recovered) == ("lav", ())
    assert (language.available, language.recovered) == ("l", ("a", "v"))
    assert whole.spread is not None and whole.spread > 0
    assert whole.latency_ms > 0 and whole.num_repaired == 0
    one = imer_ray.load_model(model.folder / "1").predict(clip_of(dataset, 0))
    assert one.spread is None


ALONE = """
import json, sys
import numpy as np, imer_ray
x, model = np.load("clips.npz"), imer_ray.load_model("ours", runtime=sys.argv[1])
count = len(x["l"])
clips = {p: [{m: x[m][i] for m in p} for i in range(count)] for p in sys.argv[2:]}
print(json.dumps({p: [found.value for found in model.predict(given)] for p, given in clips.items()}))
"""


@pytest.mark.parametrize(
    ("runtime", "tolerance"),
    [("eager", 0), pytest.param("onnx", 1e-5, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_nothing_but_the_folder_is_needed(tmp_path: Path, runtime: str, tolerance: float) -> None:
    """In a process of its own, in an empty folder, with the data that it was trained on gone: 40 clips, of which any
    modalities are missing, as `evaluate` predicts them."""
    rng = np.random.default_rng(0)
    widths = {"text": 5, "audio": 4, "vision": 3}
    tree = {
        split: {name: rng.normal(3, 9, (40, 4, width)).astype(np.float32) for name, width in widths.items()}
        | {"regression_labels": rng.uniform(-3, 3, 40), "id": [f"{split}_{row}" for row in range(40)]}
        for split in ("train", "valid", "test")
    }
    (tmp_path / "clips.pkl").write_bytes(pickle.dumps(tree))
    convert.main([f"input={tmp_path}/clips.pkl", f"output={tmp_path}/store"])
    dataset = save_model(tmp_path / "ours", 1, *SETTINGS, "data=store", f"data.path={tmp_path}/store", small=())
    if runtime == "onnx":
        export.main([f"model={tmp_path}/ours", "format=onnx"])
    protocol = Component.of(option("protocol", "fixed"))
    trained = open_model(tmp_path / "ours" / "1", protocol, {})
    given = (trained.dataset, "test", protocol.build(), trained.inference, trained.seed, DEVICE)
    expected = predict_protocol(trained.model, *given)
    clips = [clip_of(dataset, row) for row in range(40)]

    (tmp_path / "empty").mkdir()
    shutil.move(tmp_path / "ours", tmp_path / "empty" / "ours")
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "clips.pkl").unlink()
    np.savez(tmp_path / "empty" / "clips.npz", **{m: np.stack([clip[m] for clip in clips]) for m in "lav"})
    command = [sys.executable, "-c", ALONE, runtime, *PATTERNS]
    done = subprocess.run(command, cwd=tmp_path / "empty", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for pattern in PATTERNS:
        np.testing.assert_allclose(found[pattern], expected[pattern], rtol=0, atol=tolerance, err_msg=pattern)


CLIPS = st.tuples(st.integers(0, 9), st.sampled_from(sorted(PATTERNS)))


@given(st.lists(CLIPS, min_size=1, max_size=8), st.integers(0, 3))
@settings(max_examples=15)
def test_a_prediction_depends_on_no_other_clip_nor_on_order_or_padding(
    model: imer_ray.Model, dataset: Dataset, chosen: list[tuple[int, str]], padding: int
) -> None:
    clips = [clip_of(dataset, row, pattern) for row, pattern in chosen]
    together = values(model, clips)
    alone = [values(model, [clip])[0] for clip in clips]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(values(model, clips[::-1])[::-1], together, rtol=0, atol=1e-6)
    padded = [{m: np.pad(x, ((0, padding), (0, 0))) for m, x in clip.items()} for clip in clips]
    np.testing.assert_allclose(values(model, padded), together, rtol=0, atol=1e-6)


def test_other_content_draws_other_noise(model: imer_ray.Model, dataset: Dataset) -> None:
    """With a change far below what the networks could tell, another draw is all that is left."""
    clip = clip_of(dataset, 0, "l")
    changed = {"l": clip["l"].copy()}
    changed["l"][0, 0] = np.nextafter(changed["l"][0, 0], np.float32(np.inf))
    first, second = values(model, [clip, changed])
    assert abs(first - second) > 1e-5
    assert values(model, [clip]) == pytest.approx([first], abs=1e-6)


def test_odd_clips_have_defined_answers(model: imer_ray.Model, dataset: Dataset) -> None:
    clip = clip_of(dataset, 0)
    one = model.predict({"l": clip["l"][:1]})
    assert math.isfinite(one.value)
    long = np.tile(clip["l"], (2500, 1))
    assert len(long) == 10_000
    assert model.predict({"l": long}).value == model.predict({"l": clip["l"]}).value
    broken = {"l": clip["l"].copy()}
    broken["l"][1, 3] = np.nan
    repaired = {"l": clip["l"].copy()}
    repaired["l"][1, 3] = 0
    found = model.predict(broken)
    assert found.num_repaired == 1 and found.value == model.predict(repaired).value
    with pytest.raises(imer_ray.UserError, match=r"clip 1: l: the model reads frames of 24 features"):
        model.predict([clip, {"l": np.ones((3, 5))}])
    assert model.predict([]) == []


def test_an_unknown_runtime_is_refused(folder: Path) -> None:
    with pytest.raises(imer_ray.UserError, match="runtime=fast"):
        Predictor.open(folder, "fast")

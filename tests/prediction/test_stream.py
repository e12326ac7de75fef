"""A stream's answer is, at every tick, that of all frames pushed so far; drop-outs and long streams too."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from saved_models import save_model

import imer_ray
from imer_ray.prediction.clip import ClipError

WHAT = st.sampled_from(["frame", "dropped", "zeros", "nothing"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> imer_ray.Model:
    folder = tmp_path_factory.mktemp("models") / "ours"
    save_model(folder, 1)
    return imer_ray.load_model(folder)


@given(st.lists(st.tuples(WHAT, WHAT, WHAT), min_size=1, max_size=14), st.integers(0, 2**16))
@settings(max_examples=60)
def test_the_answer_is_that_of_all_frames_so_far(
    model: imer_ray.Model, ticks: list[tuple[str, str, str]], seed: int
) -> None:
    rng, stream = np.random.default_rng(seed), model.stream()
    so_far: dict[str, list[Any]] = {"l": [], "a": [], "v": []}
    for tick in ticks:
        pushed = {}
        for m, what in zip("lav", tick, strict=True):
            frame = rng.normal(size=model.reads.dims[m]).astype(np.float32)
            if what != "nothing":
                pushed[m] = {"frame": frame, "dropped": None, "zeros": np.zeros_like(frame)}[what]
                so_far[m].append(pushed[m])
        stream.push(pushed)
    given = {m: frames for m, frames in so_far.items() if any(frame is not None for frame in frames)}
    try:
        offline: Any = model.predict(given).value
    except ClipError:
        offline = math.nan
    np.testing.assert_equal(stream.value, offline)


def test_a_camera_that_stays_off_is_recovered_and_one_that_never_was_on_too(model: imer_ray.Model) -> None:
    rng, stream = np.random.default_rng(0), model.stream()
    assert stream.prediction is None and math.isnan(stream.value)
    stream.push({"l": rng.normal(size=model.reads.dims["l"])})
    assert stream.prediction is not None and stream.prediction.available == "l"
    stream.push({"v": rng.normal(size=model.reads.dims["v"])})
    assert stream.prediction.available == "lv" and stream.prediction.recovered == ("a",)
    for _ in range(model.reads.lengths["v"]):
        stream.push({"v": None})
    assert stream.prediction.available == "l" and stream.prediction.recovered == ("a", "v")


def test_frames_that_cannot_be_read_are_refused_and_change_nothing(model: imer_ray.Model) -> None:
    stream = model.stream()
    stream.push({"l": np.ones(model.reads.dims["l"])})
    before = stream.value
    for frames in ({"l": np.ones(3)}, {"x": np.ones(3)}, {"l": ["a"] * model.reads.dims["l"]}, {"l": [[1.0]]}):
        with pytest.raises(ClipError):
            stream.push(frames)
    assert stream.value == before

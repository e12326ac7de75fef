"""What is read of a clip as somebody has it: its frames, where they lie, what was repaired, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from imer_ray.data.dataset import standardised
from imer_ray.data.missing import MODALITIES
from imer_ray.prediction.clip import Clip, ClipError, Frames, Reads, batch_of, read_clip

READS = Reads({"l": 3, "a": 2, "v": 4}, {"l": 5, "a": 5, "v": 7}, frozenset("v"), {"l": "words", "a": None, "v": None})
ONES = {m: np.ones((4, width)) for m, width in READS.dims.items()}


def test_a_modality_that_is_none_left_out_or_zeros_is_missing() -> None:
    assert read_clip({"l": ONES["l"], "a": None}, READS).available == "l"
    assert read_clip({"l": ONES["l"], "v": np.zeros((4, 4))}, READS).available == "l"
    assert read_clip(ONES, READS).available == "lav"


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, torch.tensor, lambda x: list(x)])
def test_arrays_lists_and_tensors_are_read_alike(kind: Any) -> None:
    raw = {m: np.random.default_rng(0).normal(size=x.shape).astype(np.float32) for m, x in ONES.items()}
    clip = read_clip({m: kind(x) for m, x in raw.items()}, READS)
    for m, x in raw.items():
        np.testing.assert_array_equal(clip.features[m], x)
        assert clip.frames[m].all() and clip.features[m].dtype == np.float32


def test_numbers_that_are_not_finite_become_zero_and_are_counted() -> None:
    x = ONES["l"].copy()
    x[0, 0], x[1, 2], x[2, 1] = np.nan, np.inf, 1e300
    clip = read_clip({"l": x}, READS)
    assert clip.num_repaired == 3
    assert (clip.features["l"] == 0).sum() == 3


def test_zeros_at_both_ends_are_padding_and_between_frames_silence() -> None:
    x = np.zeros((5, 3))
    x[1], x[3] = 1, 2
    assert read_clip({"l": x}, READS).frames["l"].tolist() == [False, True, True, True, False]


def test_a_frame_that_was_dropped_is_not_there() -> None:
    one = [1.0, 2.0, 3.0]
    clip = read_clip({"l": [one, None, one, None]}, READS)
    assert clip.frames["l"].tolist() == [True, False, True, False]


def test_of_a_long_clip_the_last_frames_are_read_without_the_padding_after_them() -> None:
    x = np.zeros((10_000, 3))
    x[:9_000] = np.arange(1, 9_001)[:, None]
    clip = read_clip({"l": x}, READS)
    assert clip.features["l"][:, 0].tolist() == [8996, 8997, 8998, 8999, 9000]
    short = np.zeros((9, 3))
    short[:2] = [[1], [2]]
    clip = read_clip({"l": short}, READS)
    assert clip.features["l"][:, 0].tolist() == [1, 2, 0, 0, 0]
    assert clip.frames["l"].tolist() == [True, True, False, False, False]


def test_zeros_are_no_padding_where_it_is_known_which_frames_were_recorded() -> None:
    x, recorded = np.zeros((9, 3)), np.arange(9) < 7
    x[3] = 1
    clip = read_clip({"l": Frames(x, recorded)}, READS)
    assert clip.features["l"][:, 0].tolist() == [0, 1, 0, 0, 0] and clip.frames["l"].all()
    short = read_clip({"l": Frames(x[1:5], np.array([False, True, True, True]))}, READS)
    assert short.frames["l"].tolist() == [False, True, True, True]
    with pytest.raises(ClipError, match="nothing of the clip is available"):
        read_clip({"l": Frames(x, recorded & False)}, READS)
    with pytest.raises(ClipError, match="frames of 3 features"):
        read_clip({"l": Frames(x[:, :2], recorded)}, READS)


def test_a_clip_does_not_hold_the_frames_that_are_not_read() -> None:
    clip = read_clip({"l": np.ones((10_000, 3))}, READS)
    assert clip.features["l"].base is None


def test_a_single_frame_and_a_vector_are_one_frame() -> None:
    for one in ([[1.0, 2.0, 3.0]], [1.0, 2.0, 3.0]):
        assert read_clip({"l": one}, READS).features["l"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, r"nothing of the clip is available.*l \(language\) 3 \[words\], a \(acoustic\) 2"),
        ({"l": None, "a": np.zeros((3, 2))}, "nothing of the clip is available"),
        ({"l": np.ones((4, 5))}, r"l: the model reads frames of 3 features \(words\), and was given \[4, 5\]"),
        ({"l": np.ones((2, 4, 3))}, r"was given \[2, 4, 3\]"),
        ({"l": []}, "no frame|was given"),
        ({"l": np.ones((0, 3))}, "l: no frame; leave the modality out"),
        ({"l": [None, None]}, "every frame was dropped"),
        ({"l": [[1, 2, 3], [1, 2]]}, "frames of different widths"),
        ({"l": "text"}, "not text"),
        ({"l": [["a", "b", "c"]]}, "not str"),
        ({"l": np.array([["a", "b", "c"]])}, "not text"),
        ({"l": [[True, False, True]]}, "not bool"),
        ({"l": np.array([[True, False, True]])}, "not true and false"),
        ({"l": [[1j, 2, 3]]}, "not complex"),
        ({"l": [[0.0, "x" * 10**6, 1]] * 10**4}, "not str"),
        ({"l": [None] * 10**7}, "more than 16,777,216 numbers"),
        ({"l": [[{}, 1, 2]]}, "not dict"),
        ({"l": 3.0}, r"was given \[\]"),
        ({"x": ONES["l"]}, "a clip has the modalities l, a, v, not 'x'"),
        ([1, 2], "a clip is given as"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(raw: Any, said: str) -> None:
    with pytest.raises(ClipError, match=said) as caught:
        read_clip(raw, READS)
    assert "\n" not in str(caught.value)


def test_frames_lie_where_they_did_in_training() -> None:
    clip = read_clip({"a": ONES["a"], "v": ONES["v"]}, READS)
    statistics = {m: (torch.full((d,), 2.0), torch.full((d,), 4.0)) for m, d in READS.dims.items()}
    batch = batch_of([clip, clip], READS, statistics)
    assert batch.frames["a"][0].tolist() == [True] * 4 + [False]
    assert batch.frames["v"][0].tolist() == [False] * 3 + [True] * 4
    assert batch.features["v"][1, :, 0].tolist() == [0.0] * 3 + [-0.25] * 4
    assert batch.recorded.tolist() == [[False, True, True]] * 2 and set(batch.features) == {"a", "v"}


def test_padding_changes_neither_features_nor_names() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 2)).astype(np.float32)
    padded = np.concatenate([x, np.zeros((2, 2), np.float32)])
    statistics = {m: (torch.ones(d), torch.full((d,), 3.0)) for m, d in READS.dims.items()}
    first, second = (batch_of([read_clip({"a": y}, READS)], READS, statistics) for y in (x, padded))
    assert torch.equal(first.features["a"], second.features["a"])
    assert first.digest("a") == second.digest("a") != 0
    expected = standardised(torch.from_numpy(x)[None], torch.ones(1, 3, dtype=torch.bool), *statistics["a"])
    assert torch.equal(first.features["a"][:, :3], expected)


def test_available_has_the_order_of_the_modalities() -> None:
    assert Clip({"v": ONES["v"], "l": ONES["l"]}, {}).available == "lv"
    assert "".join(MODALITIES) == "lav"

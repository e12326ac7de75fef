"""Frames are found where they are, before or after the padding, or the file is refused with the clip's name."""

import numpy as np
import pytest
import torch
from mmsa_files import KEYS, SHAPES, SIZES, converted, tree

from imer_ray.data.padding import Recorded, frames_at_the_end
from imer_ray.errors import UserError


def true_frames(data, split, key):
    return (data[split][key] != 0).any(2)


@pytest.mark.parametrize("front", [False, True])
def test_every_true_frame_is_recorded_and_no_padding_wherever_it_lies(tmp_path, front, capsys):
    data = tree(front)
    dataset = converted(tmp_path, data).load()
    for split, count in SIZES.items():
        batch = dataset.batch(split, torch.arange(count))
        for m, key in KEYS.items():
            assert np.array_equal(batch.frames[m].numpy(), true_frames(data, split, key))
    printed = capsys.readouterr().out
    assert ("padding lies before the frames in a, v" in printed) == front
    true = int(true_frames(data, "train", "audio").sum())
    assert f"a audio  train    40 of 40    {true} of 360" in printed


def test_silence_at_the_edges_counts_within_the_length_and_takes_the_side_of_the_other_clips(tmp_path):
    data = tree(front=True)
    x, lengths = data["train"]["audio"], data["train"]["audio_lengths"]
    x[0], lengths[0] = 0, 5
    x[0, 5:7] = 1  # fits 5 frames at either end: they lie at the end, and 2 of them are silent there
    x[1], lengths[1] = 0, 4  # nothing recorded, whatever the length says
    x[2], lengths[2] = 0, 0
    batch = converted(tmp_path, data).load().batch("train", [0, 1, 2])
    assert batch.frames["a"].tolist() == [[False] * 4 + [True] * 5, [False] * 9, [False] * 9]
    assert batch.recorded[:, 1].tolist() == [True, False, False]


def frames(*filled, length, front=False):
    """A clip of 9 audio frames in an otherwise sound file, those named filled, and the length it is said to have."""

    def change(split):
        split["audio"][3] = 0
        split["audio"][3, list(filled)] = 1
        split["audio_lengths"][3] = length

    change.front = front
    return change


@pytest.mark.parametrize(
    "change",
    [
        frames(0, 1, 2, 3, length=2),  # shorter than what is there
        frames(5, 6, 7, 8, length=2, front=True),
        frames(0, 1, 7, 8, length=4),  # padding in the middle
        frames(3, 4, 5, length=3),  # in the middle of padding
        frames(0, 1, 2, length=0),
        frames(0, 1, 2, length=12),  # longer than the array, which is not full
        frames(6, 7, 8, length=3),  # at the other end than all others
        frames(0, 1, 2, length=3, front=True),
    ],
)
def test_lengths_that_contradict_the_frames_are_refused_with_the_clip(tmp_path, change):
    data = tree(change.front)
    change(data["valid"])
    with pytest.raises(UserError, match="valid: audio: clip 'valid3' has .* frames according to audio_lengths, but of"):
        converted(tmp_path, data)
    assert not (tmp_path / "store").exists()


def test_without_lengths_the_same_frames_are_read_and_gaps_are_silence(tmp_path):
    data = tree(front=True)
    for split in data.values():
        del split["audio_lengths"]
    data["valid"]["audio"][3] = 0
    data["valid"]["audio"][3, [2, 6]] = 1
    frames = converted(tmp_path, data).load().batch("valid", [3]).frames["a"]
    assert frames.tolist() == [[False] * 2 + [True] * 5 + [False] * 2]


def test_a_file_that_leaves_no_choice_is_read_no_further_than_to_the_clip_that_says_so():
    full, half = np.ones((1, 4), bool), np.array([[False, False, True, True]])

    def parts():
        yield full, np.array([4])
        yield half, np.array([2])
        raise AssertionError("read on")

    assert frames_at_the_end(parts())
    assert not frames_at_the_end([(full, np.array([4]))])


def tokens(data, dtype="i8"):
    """text_bert whose mask covers 4 of 6 tokens, and text in which [PAD] is no zero, as BERT leaves it."""
    for name, split in data.items():
        count, L = SIZES[name], SHAPES["text"][0]
        split["text_bert"] = np.zeros((count, 3, L), dtype)
        split["text_bert"][:, 0] = 101
        split["text_bert"][:, 1, :4] = 1
        split["text"] = np.random.default_rng(1).normal(1, 1, split["text"].shape).astype("f4")
    return data


@pytest.mark.parametrize("dtype", ["i8", "f4"])
@pytest.mark.parametrize("aligned", [True, False])
def test_frames_of_pad_are_no_words(tmp_path, dtype, aligned):
    data = tokens(tree(), dtype)
    if aligned:
        for split in data.values():
            del split["audio_lengths"], split["vision_lengths"]
    store = converted(tmp_path, data)
    dataset = store.load()
    assert dataset.batch("train", [0, 9]).frames["l"].tolist() == [[True] * 4 + [False] * 2] * 2
    words = data["train"]["text"][:, :4].reshape(-1, 4).astype("f8")
    features = dataset.batch("train", torch.arange(40)).features["l"][:, :4].reshape(-1, 4)
    np.testing.assert_allclose(features, (words - words.mean(0)) / words.std(0), rtol=1e-4, atol=1e-5)


def test_a_mask_longer_than_the_words_adds_no_zeros(tmp_path):
    data = tokens(tree())
    data["train"]["text"][0, 3:] = 0  # word vectors, fewer than the tokens
    assert converted(tmp_path, data).load().batch("train", [0]).frames["l"].tolist() == [[True] * 3 + [False] * 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda split: split["text_bert"].__setitem__((2, 1, 1), 0), "has a gap"),
        (lambda split: split["text_bert"].__setitem__((2, 1, 1), 7), "must be 0 or 1"),
        (lambda split: split["text_bert"].__setitem__((2, 1), 0), "names tokens whose frames are zero"),
        (lambda split: split["text"].__setitem__((2, slice(0, 2)), 0), "names tokens whose frames are zero"),
    ],
)
def test_a_mask_that_contradicts_the_frames_is_refused_with_the_clip(tmp_path, change, message):
    data = tokens(tree())
    change(data["test"])
    with pytest.raises(UserError, match=f"test: text: the mask in text_bert .* {message}.*clip 'test2'"):
        converted(tmp_path, data)


def test_tokens_that_do_not_fit_the_text_are_said_to_be_unread(tmp_path, capsys):
    data = tokens(tree())
    for split in data.values():
        split["text_bert"] = split["text_bert"][:, :, :5]
    dataset = converted(tmp_path, data).load()
    assert "text_bert is not read" in capsys.readouterr().out
    assert dataset.batch("train", [0]).frames["l"].all()


def test_any_mix_of_lengths_gives_exactly_the_frames_of_each():
    r = np.random.default_rng(0)
    for at_the_end in (False, True):
        lengths = r.integers(1, 12, 200)
        lengths[0] = 3
        kept = lengths.clip(max=9)
        frame = np.arange(9)
        wanted = frame >= 9 - kept[:, None] if at_the_end else frame < kept[:, None]
        loud = r.random((200, 9)) < 0.9
        loud[0] = loud[lengths > 9] = True  # the first clip tells the side; cut clips are full
        filled = wanted & loud
        assert frames_at_the_end([(filled, lengths)]) == at_the_end
        start, stop = Recorded("x: audio", str, lengths, None, at_the_end).find(filled, 0)
        found = (frame >= start[:, None]) & (frame < stop[:, None])
        assert np.array_equal(found, wanted & filled.any(1)[:, None])

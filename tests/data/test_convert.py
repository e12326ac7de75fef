"""From an MMSA pickle to a memory-mapped store: values, repairs, padding, and clear words about what does not fit."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from imer_ray import convert
from imer_ray.data import store_writer
from imer_ray.data.store import CHUNK, Store
from imer_ray.errors import UserError

SIZES = {"train": 2 * CHUNK + 9, "valid": 5, "test": CHUNK}
SHAPES = {"text": (6, 4), "audio": (6, 3), "vision": (6, 2)}
KEYS = {"l": "text", "a": "audio", "v": "vision"}


def tree():
    """A file in the shape of MMSA's, with everything finite and no padding."""
    r = np.random.default_rng(0)
    splits = {}
    for name, n in SIZES.items():
        split = {key: r.normal(3, 2, (n, *shape)).astype(np.float32) for key, shape in SHAPES.items()}
        split |= {"raw_text": np.array(["words"] * n, dtype=object), "id": [f"{name}${i}" for i in range(n)]}
        split |= {"regression_labels": r.uniform(-3, 3, n).astype(np.float32), "annotations": ["Positive"] * n}
        splits[name] = split
    return splits


def converted(folder, data, protocol=4):
    path = folder / "aligned_50.pkl"
    path.write_bytes(pickle.dumps(data, protocol))
    convert.main([f"input={path}", f"output={folder / 'mosi'}"])
    return Store(str(folder / "mosi"))


@pytest.fixture
def data():
    return tree()


@pytest.fixture
def store(tmp_path, data):
    return converted(tmp_path, data)


def everything(dataset, split):
    return dataset.batch(split, torch.arange(dataset.size(split)))


@pytest.mark.parametrize("protocol", [2, 5])
def test_every_value_comes_back_standardised_with_the_training_clips(tmp_path, data, protocol):
    dataset = converted(tmp_path, data, protocol).load()
    assert dataset.lengths == {"l": 6, "a": 6, "v": 6} and dataset.dims == {"l": 4, "a": 3, "v": 2}
    assert dataset.label_kind == "regression"
    for split in SIZES:
        batch = everything(dataset, split)
        assert batch.labels.tolist() == data[split]["regression_labels"].tolist()
        assert batch.recorded.all()
        for m, key in KEYS.items():
            train = data["train"][key].reshape(-1, SHAPES[key][1]).astype(np.float64)
            wanted = (data[split][key] - train.mean(0)) / train.std(0)
            np.testing.assert_allclose(batch.features[m], wanted, rtol=1e-4, atol=1e-5)
            assert batch.frames[m].all() and batch.features[m].dtype == torch.float32


def test_a_batch_of_any_rows_in_any_order_is_those_rows(store):
    dataset = store.load()
    rows = torch.tensor([SIZES["train"] - 1, 0, CHUNK, CHUNK - 1, 0])
    part, whole = dataset.batch("train", rows), everything(dataset, "train")
    for m in KEYS:
        assert torch.equal(part.features[m], whole.features[m][rows])
    assert torch.equal(part.labels, whole.labels[rows]) and torch.equal(part.index, rows)


def test_numbers_that_are_not_finite_become_zero_and_are_counted(tmp_path, data, capsys):
    data["train"]["audio"][0, 1, 2] = -np.inf
    data["valid"]["audio"][1, 2, 0] = np.inf
    data["test"]["vision"][3, 4, :] = np.nan
    data["test"]["text"] = data["test"]["text"].astype(np.float64)
    data["test"]["text"][0, 0, 0] = 1e300
    store = converted(tmp_path, data)
    dataset = store.load()
    assert "a, set to 0: 1 +inf, 1 -inf" in capsys.readouterr().out
    repaired = json.loads((Path(store.path) / "dataset.json").read_text())["repaired"]
    assert repaired["v"] == {"nan": 2, "+inf": 0, "-inf": 0} and repaired["l"]["+inf"] == 1
    train = data["train"]["audio"].copy()
    train[0, 1, 2] = 0
    flat = train.reshape(-1, 3).astype(np.float64)
    wanted = (0 - flat.mean(0)[2]) / flat.std(0)[2]
    assert dataset.batch("train", [0]).features["a"][0, 1, 2].item() == pytest.approx(wanted, abs=1e-5)
    for split in SIZES:
        assert all(torch.isfinite(x).all() for x in everything(dataset, split).features.values())


def test_frames_of_zeros_at_the_ends_are_padding_and_count_in_no_statistic(tmp_path, data):
    data["train"]["vision"][0, :2] = data["train"]["vision"][0, 5:] = 0
    data["train"]["vision"][1, 3] = 0  # in the middle: a recorded frame
    data["train"]["vision"][2] = 0  # nothing recorded
    dataset = converted(tmp_path, data).load()
    batch = everything(dataset, "train")
    assert batch.frames["v"][:3].tolist() == [[False, False, True, True, True, False], [True] * 6, [False] * 6]
    assert batch.recorded[:3].tolist() == [[True] * 3, [True] * 3, [True, True, False]]
    assert (batch.features["v"][~batch.frames["v"]] == 0).all()
    recorded = batch.features["v"][batch.frames["v"]].double()
    torch.testing.assert_close(recorded.mean(0), torch.zeros(2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(recorded.std(0, correction=0), torch.ones(2).double(), atol=1e-5, rtol=0)


def test_given_lengths_say_which_frames_were_recorded(tmp_path, data, capsys):
    for split, n in SIZES.items():
        data[split]["audio_lengths"] = [3] * n
        data[split]["vision_lengths"] = np.full(n, 9)  # of clips that were cut to 6 frames
        data[split]["audio"][:, 3:] = 0
        data[split]["audio"][0, 0] = 0
    dataset = converted(tmp_path, data).load()
    assert "odd: 5 clips of valid had more frames than the 6 of vision that the file keeps" in capsys.readouterr().out
    batch = dataset.batch("valid", [0, 1])
    assert batch.frames["a"].tolist() == [[True] * 3 + [False] * 3] * 2
    assert batch.frames["v"].all()
    assert (batch.features["a"][:, 3:] == 0).all()


def test_a_constant_feature_is_zero_and_not_infinite(tmp_path, data):
    for split in SIZES:
        data[split]["audio"][:, :, 1] = 0.1
    batch = everything(converted(tmp_path, data).load(), "test")
    assert batch.features["a"][:, :, 1].abs().max() < 1e-6


def test_clips_without_a_label_keep_their_features(tmp_path, data):
    data["train"]["regression_labels"][4] = np.nan
    store = converted(tmp_path, data)
    assert torch.isnan(store.load().labels("train")).nonzero().tolist() == [[4]]
    manifest = json.loads((Path(store.path) / "dataset.json").read_text())
    assert manifest["splits"]["train"]["num_labelled"] == SIZES["train"] - 1


def test_the_source_s_checksum_is_kept_and_its_name_is_not_part_of_the_fingerprint(tmp_path, data, store):
    manifest = json.loads((Path(store.path) / "dataset.json").read_text())
    content = (tmp_path / "aligned_50.pkl").read_bytes()
    assert manifest["source"]["sha256"] == hashlib.sha256(content).hexdigest()
    (tmp_path / "other").mkdir()
    assert converted(tmp_path / "other", data, protocol=5).fingerprint() == store.fingerprint()
    assert store.load().fingerprint == store.fingerprint()
    (tmp_path / "third").mkdir()
    data["test"]["audio"][0, 0, 0] += 1
    assert converted(tmp_path / "third", data).fingerprint() != store.fingerprint()


def test_an_output_that_holds_something_is_left_alone(tmp_path, data, store):
    before = sorted(os.listdir(store.path))
    with pytest.raises(UserError, match="not empty"):
        converted(tmp_path, data)
    assert sorted(os.listdir(store.path)) == before


def test_a_conversion_that_fails_half_way_leaves_nothing(tmp_path, data, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_writer, "sha256", fail)
    with pytest.raises(UserError, match="no space left"):
        converted(tmp_path, data)
    assert os.listdir(tmp_path) == ["aligned_50.pkl"]


def test_a_pickle_that_would_run_code_is_refused_and_nothing_is_written(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(UserError, match="mkdir"):
        converted(tmp_path, {"train": Bomb()})
    assert os.listdir(tmp_path) == ["aligned_50.pkl"]


def removed(key):
    def change(data):
        del data["valid"][key]

    return change


def replaced(key, make):
    def change(data):
        data["valid"][key] = make(data["valid"][key])

    return change


def only_tokens(data):
    for split in data.values():
        split["text_bert"] = split.pop("text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (only_tokens, "text_bert.*no text"),
        (lambda data: data.pop("test"), "splits train, valid, test"),
        (removed("audio"), "valid lacks audio"),
        (removed("regression_labels"), "valid lacks regression_labels"),
        (replaced("audio", lambda x: x[:-1]), "valid: audio has the shape"),
        (replaced("audio", lambda x: x[:, :, :2]), "audio differ between splits"),
        (replaced("audio", lambda x: x[:, 0]), "audio must be an array"),
        (replaced("audio", lambda x: x.astype(str)), "audio must be an array of numbers"),
        (replaced("audio", lambda x: x.astype(object)), "damaged|must be an array of numbers"),
        (replaced("regression_labels", lambda x: x * 100), r"in \[-3, 3\]"),
        (replaced("regression_labels", lambda x: x * np.inf), r"in \[-3, 3\]"),
        (replaced("regression_labels", lambda x: ["a"] * len(x)), "regression_labels must be numbers"),
        (lambda data: data["valid"].update(audio_lengths=[-1] * 5), "audio_lengths"),
        (lambda data: data["valid"].update(audio_lengths=[1]), "audio_lengths"),
        (lambda data: data.update(valid={k: v[:0] for k, v in data["valid"].items()}), "holds no clip"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(tmp_path, data, change, message):
    change(data)
    with pytest.raises(UserError, match=message):
        converted(tmp_path, data)
    assert os.listdir(tmp_path) == ["aligned_50.pkl"]


def test_the_command_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="input=.*output="):
        convert.main([])
    with pytest.raises(UserError, match="no such file"):
        convert.main([f"input={tmp_path / 'none.pkl'}", f"output={tmp_path / 'out'}"])


def test_a_store_whose_files_are_damaged_is_refused(store):
    folder = Path(store.path)
    content = (folder / "train.arrow").read_bytes()
    (folder / "train.arrow").write_bytes(content[:-10])
    for action in (store.load, store.fingerprint):
        with pytest.raises(UserError, match=r"train\.arrow is damaged"):
            action()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    (folder / "train.arrow").write_bytes(bytes(changed))
    with pytest.raises(UserError, match="checksum"):
        store.fingerprint()
    (folder / "train.arrow").unlink()
    with pytest.raises(UserError, match="gone"):
        store.load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=99), "version 99"),
        (lambda m: m.pop("version"), "damaged"),
        (lambda m: m["splits"].pop("test"), "damaged"),
        (lambda m: m.pop("statistics"), "damaged"),
        (lambda m: m.pop("dims"), "damaged"),
        (lambda m: m["dims"].update(a=5), "damaged"),
        (lambda m: m.update(feature_names=["librosa"]), "damaged: feature_names are no short texts"),
        (lambda m: m.update(feature_names={"a": 3}), "damaged: feature_names"),
        (lambda m: m.update(feature_names={"a": "x\x1b[2J"}), "damaged: feature_names"),
        (lambda m: m.update(feature_names={"b": "x"}), "damaged: feature_names"),
        (lambda m: m["lengths"].update(a=5), "damaged"),
        (lambda m: m["splits"]["valid"].update(num_clips=6), "holds 5 clips instead of 6"),
        (lambda m: m["statistics"]["a"].update(std=[0.0, 1.0, 1.0]), "damaged"),
    ],
)
def test_a_store_whose_manifest_is_damaged_is_refused(store, change, message):
    path = Path(store.path) / "dataset.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=message):
        store.load()


def test_a_store_without_a_path_or_a_manifest_says_what_to_do(tmp_path, store):
    with pytest.raises(UserError, match=r"data\.path="):
        Store().load()
    with pytest.raises(UserError, match=r"imer_ray\.convert"):
        Store(str(tmp_path)).load()
    (Path(store.path) / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        store.fingerprint()

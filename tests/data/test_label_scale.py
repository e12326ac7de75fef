"""Whose labels these are: MOSI's and MOSEI's are read, those of other data refused by name, odd ones told."""

import json
import pickle
import re

import numpy as np
import pytest
from mmsa_files import SIZES, converted, tree

from imer_ray.errors import UserError


def labelled(values, data=None):
    """A file whose labels are ``values`` in turn, another part of them in each split."""
    data = data or tree()
    for i, (name, count) in enumerate(SIZES.items()):
        data[name]["regression_labels"] = np.resize(np.roll(values, i), count).astype("f4")
    return data


STEPS_OF_SIMS = np.round(np.arange(-5, 6) * 0.2, 1)
FIFTHS, THIRDS = np.arange(-15, 16) / 5, np.arange(-9, 10) / 3  # means of five and of three whole numbers


def by_modality(data):
    for split in data.values():
        split["regression_labels_T"] = split["regression_labels"]
    return data


def only_classes(data):
    for name, split in data.items():
        del split["regression_labels"]
        split["classification_labels"] = np.arange(SIZES[name]) % 3
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (by_modality(tree()), r"labels of each modality \(regression_labels_T\), as CH-SIMS has"),
        (labelled(STEPS_OF_SIMS), r"look like CH-SIMS's \(in \[-1, 1\], in steps of 0.2\)"),
        (only_classes(tree()), "has classes .classification_labels. and no regression_labels"),
        (labelled(np.arange(7)), "look like classes .whole numbers from 0 to 6"),
        (labelled(np.arange(4)), "look like classes .whole numbers from 0 to 3"),
        (labelled(np.arange(2)), "look like classes .whole numbers from 0 to 1"),
    ],
)
def test_labels_of_other_data_are_refused_and_why(tmp_path, data, message):
    with pytest.raises(UserError, match=f"{message}.*metrics of CMU-MOSI and CMU-MOSEI only"):
        converted(tmp_path, data)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (FIFTHS, "regression"),
        (THIRDS, "regression"),
        (np.arange(-3, 4), "regression"),
        (FIFTHS[FIFTHS >= 0], "regression"),
        (THIRDS[np.abs(THIRDS) <= 1], "regression"),  # MOSEI's within [-1, 1] are no steps of 0.2
        ([-1, 1], "binary"),
        ([-1, 1, np.nan], "binary"),
    ],
)
def test_parts_of_mosi_and_mosei_and_two_classes_are_read(tmp_path, values, kind):
    data = labelled(values)
    for split in data.values():  # as MMSA's files of MOSI and MOSEI have them
        split["classification_labels"] = np.sign(np.nan_to_num(split["regression_labels"])) + 1
    assert converted(tmp_path, data).load().label_kind == kind


def test_few_labels_of_mosi_within_one_are_read_though_they_look_like_those_of_sims(tmp_path):
    data = labelled([0.4, -0.2, np.nan, np.nan, np.nan, np.nan, np.nan])
    assert converted(tmp_path, data).load().label_kind == "regression"


def test_labels_beyond_three_are_named_with_their_clip(tmp_path):
    data = tree()
    data["test"]["regression_labels"][[2, 5]] = 3.4, -7
    message = r"test: regression_labels must be in \[-3, 3\].* that of clip 'test2' is 3.4, and 1 more"
    with pytest.raises(UserError, match=message):
        converted(tmp_path, data)
    for split in data.values():
        del split["id"]
    with pytest.raises(UserError, match=r"that of clip 2 \(from 0\) is 3.4"):
        converted(tmp_path, data)


def test_a_label_of_three_with_a_rounding_error_is_three(tmp_path):
    data = tree()
    data["test"]["regression_labels"] = data["test"]["regression_labels"].astype("f8")
    data["test"]["regression_labels"][0] = 3.00000004
    assert float(converted(tmp_path, data).load().labels("test")[0]) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda y: [*y[:-1].tolist(), "positive"], "that of clip 7 .from 0. is 'positive'"),
        (lambda y: [None, *y[1:].tolist()], "that of clip 0 .from 0. is None"),
        (lambda y: y.astype(str), "that of clip 0 .from 0. is '"),
        (lambda y: np.stack([y] * 7, 1), r"has the shape \(8, 7\), and one number a clip is needed"),
        (lambda y: y[:-1], "text has the shape .* does not fit 7 clips"),
        (lambda y: [[1.0, 2.0]] * 8, "that of clip 0 .from 0. is a list"),
        (lambda y: {"a": 1}, "must be numbers, one a clip, not a dict"),
        (lambda y: "abc", "must be numbers, one a clip, not 'abc'"),
    ],
)
def test_labels_that_are_no_numbers_are_named(tmp_path, make, message):
    data = tree()
    data["test"]["regression_labels"] = make(data["test"]["regression_labels"])
    with pytest.raises(UserError, match=f"test: .*{message}"):
        converted(tmp_path, data)


@pytest.mark.parametrize(
    "make",
    [
        lambda y: y.tolist(),
        lambda y: y[:, None],
        lambda y: y.astype(object),
        lambda y: list(y),  # numpy's scalars
        lambda y: [[float(value)] for value in y],
        lambda y: [np.array([value]) for value in y],
        lambda y: tuple(y.tolist()),
    ],
)
def test_labels_and_lengths_are_read_however_they_are_kept(tmp_path, make):
    data = tree()
    wanted = data["train"]["regression_labels"].tolist()
    for split in data.values():
        for key in ("regression_labels", "audio_lengths", "vision_lengths"):
            split[key] = make(np.array(split[key]))
    dataset = converted(tmp_path, data).load()
    assert dataset.labels("train").tolist() == wanted
    assert dataset.batch("train", [0]).frames["a"].sum() == np.ravel(data["train"]["audio_lengths"][0])[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["valid"]["regression_labels"].fill(0), "odd: every label of valid is 0"),
        (lambda data: data["valid"]["regression_labels"].fill(np.nan), "odd: no clip of valid has a label"),
        (lambda data: np.abs(data["test"]["regression_labels"], out=data["test"]["regression_labels"]), "is below 0"),
        (lambda data: data["train"]["vision"].fill(0), "odd: v is recorded in no clip of train"),
        (lambda data: data["test"]["audio"][:5].fill(0), "odd: a is recorded in less than half of the clips of test"),
        (lambda data: data["test"]["id"].__setitem__(1, "test0"), "1 clips of test have a name .* first 'test0'"),
        (lambda data: data["test"]["id"].__setitem__(1, "train4"), "1 clips of test are in train too.* first 'train4'"),
        (lambda data: data["test"].update(id=[["a", "b"]] * 8), r"names \(id\) are not read"),
        (lambda data: data["test"].update(id=["x" * 1000] * 8), r"names \(id\) are not read"),
        (lambda data: data["test"].update(id=["\ud800"] * 8), r"names \(id\) are not read"),
        (lambda data: [s.update(regression_labels=s["regression_labels"] / 3.1) for s in data.values()], "beyond 0.9"),
    ],
)
def test_what_looks_odd_is_told_and_nothing_else(tmp_path, capsys, change, message):
    converted(tmp_path, tree())
    assert "odd:" not in capsys.readouterr().out
    data = tree()
    change(data)
    (tmp_path / "other").mkdir()
    converted(tmp_path / "other", data)
    printed = capsys.readouterr().out.splitlines()
    odd = [line for line in printed if line.startswith("odd:")]
    assert len(odd) == 1
    assert re.search(message, odd[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda ids: [name.encode() for name in ids],
        lambda ids: np.array(ids),
        lambda ids: np.array([name.encode() for name in ids]),
        lambda ids: np.array(ids, object)[:, None],
        lambda ids: [int(name.lstrip("abcdefghijklmnopqrstuvwxyz")) for name in ids],
    ],
)
def test_names_of_clips_are_kept_as_text_however_they_are_written(tmp_path, make):
    import pyarrow as pa

    data = tree()
    for split in data.values():
        split["id"] = make(split["id"])
    store = converted(tmp_path, data)
    with pa.memory_map(f"{store.path}/test.arrow") as file:
        found = pa.ipc.open_file(file).read_all()["id"].to_pylist()
    assert [name.removeprefix("test") for name in found] == [str(i) for i in range(8)]


def test_the_summary_counts_clips_frames_and_repairs_of_every_modality_and_split(tmp_path, capsys):
    data = tree()
    data["valid"]["vision"][0, 0, 0] = np.nan
    data["test"]["vision"][:3] = 0
    data["train"]["regression_labels"][:2] = np.nan
    store = converted(tmp_path, data)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) <= 30
    cells = [line.split() for line in printed[2:11]]
    assert [(row[0], row[2]) for row in cells] == [(m, split) for m in "lav" for split in SIZES]
    assert cells[8][3:6] == ["5", "of", "8"] and cells[7][-1] == "1"
    assert "clips without a label: 2 of train" in printed
    with open(f"{store.path}/dataset.json") as file:
        splits = json.load(file)["splits"]
    frames = int((data["train"]["audio"] != 0).any(2).sum())
    assert splits["train"]["recorded"]["a"] == {"clips": 40, "frames": frames, "repaired": 0}
    assert cells[3][6] == str(frames)


def test_one_array_standing_for_many_is_refused_before_it_is_written(tmp_path):
    data = tree()
    few = {"text": (1, 1), "audio": (1, 1), "vision": (1, 60_000)}
    one = np.ones((40, 1, 60_000), "u1")
    for name, count in SIZES.items():
        data[name] = {key: np.ones((count, *shape), "u1") for key, shape in few.items()}
        data[name] |= {"regression_labels": np.linspace(-2.9, 3, count)}
    for name in SIZES:
        data[name] |= {"vision": one, "audio": one, "text": one, "regression_labels": np.linspace(-2.9, 3, 40)}
    assert len(pickle.dumps(data)) < 3e6
    with pytest.raises(UserError, match="the same numbers stand for several arrays"):
        converted(tmp_path, data)


@pytest.mark.parametrize("shape", [(1, 1, 100_000), (1, 100_000, 1), (1, 3000, 3000)])
def test_a_clip_of_absurd_size_is_refused_at_once(tmp_path, shape):
    data = {name: {key: np.ones(shape, "u1") for key in ("text", "audio", "vision")} for name in SIZES}
    for split in data.values():
        split["regression_labels"] = np.ones(1)
    with pytest.raises(UserError, match="numbers a clip are read"):
        converted(tmp_path, data)

"""Files that cannot be read or written: one sentence that says what stands in the way."""

import os
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pyarrow.parquet  # noqa: F401  (nobody may not import it)
import pytest
from mmsa_files import as_nobody, converted, open_folder, tree

from imer_ray import convert, generate
from imer_ray.data.mmsa_synthetic import MmsaShape
from imer_ray.data.store import Store
from imer_ray.data.utterance import MosiUtterance
from imer_ray.errors import UserError


def refused(action):
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def folder(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def end_of_a_wire(path):
    with socket.socket(socket.AF_UNIX) as wire:
        wire.bind(str(path))


def circle(path):
    path.symlink_to(path)


PLACES = [
    (folder, "is a folder, where a file is needed"),
    (pipe, "is a named pipe"),
    (end_of_a_wire, "is a socket"),
    (circle, "cannot be read: too many levels of symbolic links"),
    (lambda path: path.symlink_to("/dev/null"), "is a device"),
    (lambda path: None, "no such file"),
]


@pytest.mark.parametrize(("make", "message"), PLACES)
def test_what_is_no_file_is_no_input_and_nothing_waits_for_it(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path = Path("x")
    make(path)
    for action in (
        lambda: convert.convert(path, Path("out")),
        MosiUtterance(str(path)).load,
        MosiUtterance(str(path)).fingerprint,
    ):
        assert message in refused(action)
    assert not Path("out").exists()


@pytest.mark.parametrize(("make", "message"), PLACES[:-1])
def test_what_is_no_file_is_no_part_of_a_store(tmp_path, monkeypatch, make, message):
    store = converted(tmp_path, tree())
    monkeypatch.chdir(store.path)
    for name in ("valid.arrow", "dataset.json"):
        Path(name).unlink()
        make(Path(name))
        for action in (store.load, store.fingerprint):
            found = refused(action)
            assert name in found and message in found and "damaged" not in found


def test_a_name_below_a_file_or_too_long_is_no_input():
    assert "no such file" in refused(lambda: convert.convert(Path(__file__) / "x", Path("out")))
    assert "file name too long" in refused(lambda: convert.convert(Path("x" * 300), Path("out")))
    assert "file name too long" in refused(Store("x" * 300).load)


@pytest.fixture
def shared():
    """A folder that all may enter; the file in it is sound."""
    with open_folder() as place, as_nobody():
        converted(place, tree())
        yield place


def test_a_file_that_may_not_be_read_is_said_to_be_so(shared):
    path = shared / "clips.pkl"
    wanted = "cannot be read: permission denied; ask its owner for the right to read it"
    path.chmod(0)
    assert wanted in refused(lambda: convert.convert(path, shared / "out"))
    assert wanted in refused(MosiUtterance(str(path)).load)
    path.chmod(0o600)
    inside = shared / "inside"
    inside.mkdir()
    shutil.move(path, inside)
    inside.chmod(0)
    assert wanted in refused(lambda: convert.convert(inside / "clips.pkl", shared / "out"))


@pytest.mark.parametrize("name", [".", "dataset.json", "train.arrow"])
def test_a_store_that_may_not_be_read_is_not_called_damaged(shared, name):
    store = Store(str(shared / "store"))
    Path(store.path, name).chmod(0)
    for action in (store.load, store.fingerprint):
        found = refused(action)
        assert "cannot be read: permission denied" in found and "damaged" not in found


@pytest.mark.parametrize("way", ["convert", "generate"])
def test_an_output_that_cannot_be_written_is_refused_and_nothing_stays(shared, way):
    def write(output):
        if way == "convert":
            return convert.convert(shared / "clips.pkl", output)
        shape = MmsaShape(num_train=2, num_valid=2, num_test=2, num_frames=2, dim_l=8, dim_a=8, dim_v=8)
        return generate.generate(shape, True, 0, output)

    closed, file = shared / "closed", shared / "file"
    closed.mkdir()
    file.write_text("kept")
    closed.chmod(0o500)
    assert "permission denied" in refused(lambda: write(closed / "out"))
    closed.chmod(0)
    assert "permission denied" in refused(lambda: write(closed / "out"))
    closed.chmod(0o700)
    assert "already exists" in refused(lambda: write(file))
    assert re.search("not a folder|a file is in the way", refused(lambda: write(file / "out")))
    assert "the name is too long" in refused(lambda: write(shared / ("x" * 300)))
    circle(shared / "circle")
    assert re.search("circle", refused(lambda: write(shared / "circle" / "out")))
    assert file.read_text() == "kept" and not list(closed.iterdir())
    assert {path.name for path in shared.iterdir()} == {"clips.pkl", "store", "closed", "file", "circle"}


def test_features_of_the_smallest_type_fill_four_times_their_room(tmp_path):
    data = tree()
    for split in data.values():
        for key in ("text", "audio", "vision"):
            split[key] = (split[key] != 0).astype(np.uint8)
    assert converted(tmp_path, data).load().dims == {"l": 4, "a": 3, "v": 2}

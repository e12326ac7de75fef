"""A model's folder says what it is, notices when it is not what was written, and takes nothing from outside."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from spoiling import SMALL, bounded, check_sentence, mutate_bytes, mutate_header, mutate_tree, save_model

from imer_ray.data.missing import PATTERNS
from imer_ray.errors import UserError
from imer_ray.evaluation import model_folder
from imer_ray.evaluation.model_collection import models_in
from imer_ray.evaluation.model_folder import CONFIG, SHAPE, WEIGHTS, load, read_config, read_shape
from imer_ray.evaluation.model_manifest import MANIFEST, README, VERSION, check_files, describe, write_manifest
from imer_ray.evaluation.validation_file import LABELS, VALIDATION, read_validation
from imer_ray.files import sha256
from imer_ray.prediction.calibration import read_calibration


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = save_model(tmp_path_factory.mktemp("models"), SMALL)
    r = np.random.default_rng(0)
    tensors = {name: r.uniform(-1, 1, 30).astype("f4") for name in (LABELS, *PATTERNS)}
    save_file(tensors, model / VALIDATION)
    (model / README).write_text("---\nlicense: unknown\n---\n")
    sign(model)
    return model


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "sent" / "1111"))


def sign(model: Path) -> None:
    """New checksums, as a sender can make them."""
    write_manifest(model, describe(read_config(model), read_shape(model)))


def change(model: Path, **changes: Any) -> None:
    content = json.loads((model / MANIFEST).read_text())
    (model / MANIFEST).write_text(json.dumps({**content, **changes}))


def refused(read: Callable[[Path], Any], model: Path, words: str) -> None:
    with bounded(), pytest.raises(UserError, match=words) as caught:
        read(model)
    check_sentence(caught.value, model)


def test_it_says_what_the_model_is_of_and_holds_every_files_checksum(model: Path) -> None:
    content = json.loads((model / MANIFEST).read_text())
    assert content["format"] == "imer_ray model" and content["format_version"] == VERSION
    assert content["files"] == {name: sha256(model / name) for name in (CONFIG, SHAPE, WEIGHTS, VALIDATION)}
    assert content["versions"]["torch"] == torch.__version__ and content["data"]["name"] == "synthetic"
    assert content["data"]["fingerprint"] == read_config(model).data_fingerprint
    assert {m: (of["width"], of["frames"]) for m, of in content["features"].items()} == {
        "l": (4, 8), "a": (3, 8), "v": (3, 8)
    }  # fmt: skip


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, SHAPE, VALIDATION])
def test_a_changed_file_is_noticed_by_its_checksum(model: Path, name: str) -> None:
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(load, model, rf"{name} is not what was written: its checksum is not that in config\.json")


def test_a_file_that_is_gone_is_missed(model: Path) -> None:
    (model / VALIDATION).unlink()
    refused(load, model, r"validation\.safetensors is missing, which config\.json lists")


def test_the_card_is_for_whoever_passes_the_model_on_to_change(model: Path) -> None:
    (model / README).write_text("---\nlicense: cc-by-4.0\n---\n")
    load(model)


def test_a_folder_of_a_newer_format_is_told_apart_from_a_damaged_one_before_anything_else_is_read(model: Path) -> None:
    change(model, format_version=VERSION + 1)
    (model / CONFIG).write_text("something: new")
    for read in (load, read_config):
        refused(read, model, rf"written by a newer imer_ray: its format is {VERSION + 1}, .* up to {VERSION}; update")


def test_a_folder_of_an_older_version_has_no_manifest_and_opens(model: Path) -> None:
    for name in (MANIFEST, VALIDATION, README):
        (model / name).unlink()
    shape = json.loads((model / SHAPE).read_text())
    for newer in ("recoverable", "label_kind", "at_the_end", "feature_names"):
        shape.pop(newer, None)
    (model / SHAPE).write_text(json.dumps(shape))
    load(model)
    assert read_calibration([model]) is None
    read = read_shape(model)
    assert read["label_kind"] == "regression" and read["at_the_end"] == []
    assert read["feature_names"] == {"l": None, "a": None, "v": None}


MANIFESTS: dict[str, tuple[Any, str]] = {
    "another library's": ({"architectures": ["BertModel"]}, "of something else"),
    "a list": ([], "of something else"),
    "no version": ({"format": "imer_ray model"}, "format_version must be a whole number"),
    "version 0": ({"format": "imer_ray model", "format_version": 0}, "format_version must be a whole number"),
    "true": ({"format": "imer_ray model", "format_version": True}, "format_version must be a whole number"),
    "a huge version": ({"format": "imer_ray model", "format_version": 10**4000}, "newer imer_ray"),
    "no files": ({"format": "imer_ray model", "format_version": 1}, "files must give"),
    **{
        name: ({"format": "imer_ray model", "format_version": 1, "files": {path: "0" * 64}}, "files must give")
        for name, path in {
            "an absolute path": "/etc/passwd",
            "a path out": "../../secret",
            "a path out and in": "a/../../1111/config.yaml",
            "no name": "",
            "an escape": "\x1b[2J",
            "a zero": "a\0b",
            "a long name": "x" * 5000,
        }.items()
    },
    "too many files": (
        {"format": "imer_ray model", "format_version": 1, "files": {str(i): "" for i in range(1000)}},
        "files must give",
    ),
    "a checksum that is none": (
        {"format": "imer_ray model", "format_version": 1, "files": {WEIGHTS: ["x"]}},
        "not what was written",
    ),
}


@pytest.mark.parametrize(("content", "words"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_is_none_is_told(model: Path, content: Any, words: str) -> None:
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    (model / MANIFEST).write_text(json.dumps(content))
    sys.set_int_max_str_digits(digits)
    refused(load, model, words)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * 2**20, b'{"a": 1e999999}'])
def test_a_manifest_that_is_no_json_of_ours_is_told(model: Path, text: bytes) -> None:
    (model / MANIFEST).write_bytes(text)
    refused(load, model, r"config\.json (is damaged|has more than)")


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, CONFIG, SHAPE, VALIDATION])
def test_a_link_that_leads_out_of_the_folder_is_refused(model: Path, name: str) -> None:
    (model / name).rename(model.parent / name)
    (model / name).symlink_to(model.parent / name)
    refused(load, model, rf"{name} is a link that leads out of the folder")
    if name == VALIDATION:
        refused(read_validation, model, "leads out of the folder")


def test_a_folder_of_a_folder_that_leads_out_is_refused_too(model: Path) -> None:
    (model.parent / "elsewhere").mkdir()
    (model.parent / "elsewhere/graph.onnx").write_bytes(b"graph")
    (model / "onnx").symlink_to(model.parent / "elsewhere")
    change(model, files={"onnx/graph.onnx": sha256(model / "onnx/graph.onnx")})
    refused(check_files, model, r"graph\.onnx is a link that leads out of the folder")


def test_a_seed_that_is_a_link_out_of_the_models_folder_is_no_seed_of_it(model: Path, tmp_path: Path) -> None:
    (tmp_path / "quality").mkdir()
    (tmp_path / "quality/1111").symlink_to(model)
    refused(lambda _: models_in(tmp_path / "quality"), tmp_path / "quality", "1111 is a link that leads out")


def test_links_within_the_folder_and_to_the_folder_are_followed(model: Path, tmp_path: Path) -> None:
    (model / WEIGHTS).rename(model / "weights")
    (model / WEIGHTS).symlink_to("weights")
    (tmp_path / "latest").symlink_to(model)
    load(tmp_path / "latest")


@pytest.mark.parametrize("name", [MANIFEST, VALIDATION])
@pytest.mark.parametrize(("kind", "words"), [("pipe", "named pipe"), ("folder", "a folder"), ("device", "a device")])
def test_what_is_no_file_is_not_waited_for(model: Path, name: str, kind: str, words: str) -> None:
    path = model / name
    path.unlink()
    make: dict[str, Callable[[], Any]] = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
    }
    make[kind]()
    refused(load if name == MANIFEST else read_validation, model, f"{name} is {words}|{name} is a {words}")


def spoil(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoilt(path: Path) -> None:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return spoilt


def enlarge(path: Path) -> None:
    with open(path, "ab") as file:
        file.truncate(2**33)


VALIDATIONS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda path: path.write_bytes(b""), "is damaged"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:500]), "is damaged"),
    "huge": (enlarge, "has 8,589,934,592 bytes"),
    "a pattern is gone": (spoil(lambda t: t.pop("av")), "is damaged: it must hold labels and l, a, v"),
    "one too many": (spoil(lambda t: t.update(more=t["l"])), "is damaged: it must hold"),
    "fewer of one": (spoil(lambda t: t.update(l=t["l"][:7])), "is damaged: it must hold"),
    "two axes": (spoil(lambda t: t.update(l=t["l"][:, None])), "is damaged: it must hold"),
    "another type": (spoil(lambda t: t.update(l=t["l"].astype("f8"))), "is damaged: it must hold"),
    "no clip": (spoil(lambda t: [t.update({k: v[:0]}) for k, v in list(t.items())]), "is damaged: it must hold"),
    "no tensor": (spoil(lambda t: t.clear()), "is damaged: it must hold"),
    "infinite": (spoil(lambda t: t["v"].fill(np.inf)), "is damaged: it holds numbers that are not finite"),
    "labels beyond": (spoil(lambda t: t[LABELS].fill(4)), "is damaged: a label is beyond 3"),
}


@pytest.mark.parametrize(("spoilt", "words"), VALIDATIONS.values(), ids=VALIDATIONS)
def test_validation_predictions_that_are_none_are_told(model: Path, spoilt: Callable[[Path], Any], words: str) -> None:
    spoilt(model / VALIDATION)
    refused(lambda folder: read_calibration([folder]), model, words)


@pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_spoilt_folders_with_fresh_checksums_are_read_or_refused_in_one_sentence(
    original: Path, tmp_path: Path, count: int
) -> None:
    refusals = 0
    for number in range(count):
        r, model = random.Random(number), tmp_path / "sent"
        shutil.copytree(original, model)
        kind = r.random()
        if kind < 0.4:
            content = json.loads((model / MANIFEST).read_text())
            mutate_tree(content, r)
            (model / MANIFEST).write_text(json.dumps(content, default=str, skipkeys=True))
        elif kind < 0.5:
            (model / MANIFEST).write_bytes(mutate_bytes((model / MANIFEST).read_bytes(), r, 500))
        else:
            change_bytes = mutate_header if kind < 0.75 else lambda b, r: mutate_bytes(b, r, 600)
            (model / VALIDATION).write_bytes(change_bytes((model / VALIDATION).read_bytes(), r))
            sign(model)
        with bounded():
            try:
                load(model)
                calibration = read_calibration([model])
                assert calibration is not None and np.isfinite(calibration.interval("la", np.zeros(1))).all()
            except UserError as error:
                check_sentence(error, model)
                refusals += 1
            except BaseException as error:
                raise AssertionError(f"input {number}: {error!r}") from error
        shutil.rmtree(model)
    assert 0.3 * count < refusals < 0.95 * count


def test_a_model_that_cannot_be_written_leaves_the_older_one_and_nothing_beside_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, config = load(model)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder, "write_manifest", full)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    with pytest.raises(UserError, match="no space left"):
        model_folder.save(model, built, config, read_shape(model), model_folder.read_statistics(model) or {})
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert [path.name for path in model.parent.iterdir()] == ["1111"]

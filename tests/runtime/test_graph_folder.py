"""A folder of graphs is whole or not there, and what somebody put into one is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from imer_ray.errors import UserError
from imer_ray.runtime.graph_folder import ABOUT, About, GraphFolder, GraphWriter
from imer_ray.runtime.pattern_graph import GraphShape

SHAPE = GraphShape("lv", {"l": (6, 5), "v": (6, 4)}, (2, 1, 3, 6, 8), (1,))
STATISTICS = {m: (torch.zeros(size).double(), torch.ones(size).double()) for m, size in {"l": 5, "v": 4}.items()}
SETTINGS = About(seed=7, source="abc", label_kind="regression", at_the_end=frozenset("v"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with GraphWriter(tmp_path / "onnx", SETTINGS, STATISTICS, ".onnx") as writer:
        writer.add(SHAPE, b"a graph", {"from_eager": 1e-6}, b"of one clip", b"of noise")
        writer.finish(20, "print('client')")
    return tmp_path / "onnx"


def changed(folder: Path, **changes: Any) -> None:
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({**about, **changes}))


def test_what_is_written_is_read(folder: Path) -> None:
    graphs = GraphFolder(folder)
    assert (graphs.seed, graphs.source, graphs.patterns) == (7, "abc", ("lv",))
    assert graphs.shape("lv") == SHAPE and graphs.content("lv") == b"a graph"
    assert graphs.content_for_one("lv") == b"of one clip"
    about = json.loads((folder / ABOUT).read_text())
    assert about["graphs"]["lv"]["exactness"] == {"from_eager": 1e-6}
    assert about["graphs"]["lv"]["inputs"] == {
        "l": [None, 6, 5],
        "v": [None, 6, 4],
        "l_frames": [None, 6],
        "v_frames": [None, 6],
        "noise": [None, 2, 1, 3, 6, 8],
    }
    assert about["modalities"]["v"]["at_the_end"] and not about["modalities"]["l"]["at_the_end"]
    names = ["client.py", "graphs.json", "lv.onnx", "lv_noise.onnx", "lv_one.onnx"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / about["graphs"]["lv"]["noise"]["file"]).read_bytes() == b"of noise"
    assert [path.name for path in folder.parent.iterdir()] == ["onnx"]


def test_a_folder_that_was_not_finished_is_not_there_and_leaves_the_older_one(folder: Path) -> None:
    with pytest.raises(RuntimeError), GraphWriter(folder, SETTINGS, STATISTICS, ".onnx") as writer:
        writer.add(SHAPE, b"another", {})
        raise RuntimeError
    assert GraphFolder(folder).content("lv") == b"a graph"
    assert [path.name for path in folder.parent.iterdir()] == ["onnx"]


def test_no_graphs_are_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        GraphFolder(tmp_path)


def test_another_graph_than_was_written_is_refused(folder: Path) -> None:
    (folder / "lv.onnx").write_bytes(b"b graph")
    with pytest.raises(UserError, match=r"lv\.onnx is damaged: .*checksum"):
        GraphFolder(folder).content("lv")
    (folder / "lv_one.onnx").write_bytes(b"b graph")
    with pytest.raises(UserError, match=r"lv_one\.onnx is damaged: .*checksum"):
        GraphFolder(folder).content_for_one("lv")
    (folder / "lv.onnx").unlink()
    with pytest.raises(UserError, match=r"lv\.onnx is missing"):
        GraphFolder(folder).content("lv")
    with pytest.raises(UserError, match="no graph for the modalities la"):
        GraphFolder(folder).content("la")


@pytest.mark.parametrize("name", [ABOUT, "lv.onnx", "lv_one.onnx"])
def test_a_link_that_leads_out_of_the_models_folder_is_refused(folder: Path, name: str) -> None:
    """Where a model's folder is tmp_path/model, and the graphs are in it."""
    model = folder.parent / "model"
    model.mkdir()
    folder.rename(model / "onnx")
    elsewhere = model.parent / "elsewhere"
    (model / "onnx" / name).rename(elsewhere)
    (model / "onnx" / name).symlink_to(elsewhere)
    with pytest.raises(UserError, match=rf"{name} is a link that leads out of the folder"):
        graphs = GraphFolder(model / "onnx")
        graphs.content("lv"), graphs.content_for_one("lv")
    elsewhere.rename(model / "other")
    (model / "onnx" / name).unlink()
    (model / "onnx" / name).symlink_to("../other")
    assert GraphFolder(model / "onnx").content("lv") == b"a graph"


def test_graphs_that_are_elsewhere_are_none_of_the_model(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "onnx").symlink_to(folder)
    with pytest.raises(UserError, match="leads out of the folder"):
        GraphFolder(model / "onnx")


def test_a_folder_of_an_older_version_has_no_graphs_for_one_clip(folder: Path) -> None:
    about = json.loads((folder / ABOUT).read_text())
    del about["graphs"]["lv"]["one"]
    changed(folder, **about)
    assert GraphFolder(folder).content("lv") == b"a graph" and GraphFolder(folder).content_for_one("lv") is None


GRAPH = {"file": "lv.onnx", "sha256": "0", "inputs": {"l": [None, 6, 5], "l_frames": [None, 6]}, "draws": []}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"version": "1"},
        {"version": 99},
        {"seed": "one"},
        {"graphs": 3},
        {"graphs": {"xyz": GRAPH}},
        {"graphs": {"lv": GRAPH}},  # lacks v
        {"graphs": {"l": {**GRAPH, "inputs": {"l": [None, 10**12, 5], "l_frames": [None, 10**12]}}}},
        {"graphs": {"l": {**GRAPH, "inputs": {"l": [None, -6, 5], "l_frames": [None, -6]}}}},
        {"graphs": {"l": {**GRAPH, "inputs": {**GRAPH["inputs"], "noise": [None, 1, 2, 1, 6, 8]}}}},
        {"graphs": {"l": {**GRAPH, "draws": ["q"]}}},
        {"graphs": {"l": {**GRAPH, "one": "l_one.onnx"}}},
        {"graphs": {"l": None}},
    ],
    ids=str,
)
def test_a_damaged_description_is_one_sentence(folder: Path, changes: dict[str, Any]) -> None:
    changed(folder, **changes)
    with pytest.raises(UserError, match=r"graphs\.json") as caught:
        GraphFolder(folder)
    assert "\n" not in str(caught.value)


def test_a_graph_lies_in_its_folder_whatever_the_description_says(folder: Path, tmp_path: Path) -> None:
    """The file's name in it is for the client; ours is that of the pattern."""
    about = json.loads((folder / ABOUT).read_text())
    about["graphs"]["lv"]["file"] = "../../secret"
    changed(folder, **about)
    assert GraphFolder(folder).content("lv") == b"a graph"

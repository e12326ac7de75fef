"""A model's graphs answer as the model does: in imer_ray, and to a client that has neither PyTorch nor imer_ray."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiments import changed, experiment, of_model
from saved_models import SMALL, save_model

import imer_ray
from imer_ray import export
from imer_ray.data.missing import PATTERNS
from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import WEIGHTS, save
from imer_ray.models.parts import Parts
from imer_ray.prediction import graph_export
from imer_ray.prediction.graph_check import Exactness
from imer_ray.prediction.onnx_runtime import FOLDER
from imer_ray.stages.context import Context
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model, load_shape

QUICK = ("lv",)
SIZES = (*SMALL, "diffusion.backbone=mixer", "diffusion.backbone.num_layers=1", "encoder.latent_dim=8")
IMDER = (
    *("data.num_train=64", "data.num_valid=32", "data.num_test=32", "data.num_frames=8", "seed=1"),
    *("training.encode.num_epochs=2", "training.joint.num_epochs=2"),
)
DRAWS = ("diffusion.num_draws=2", "diffusion.sampler=dpmpp_sde", "diffusion.num_steps=2")
CLIENT = """
import runpy, sys
sys.modules["torch"] = sys.modules["imer_ray"] = None  # whoever imports them fails
sys.argv = ["client.py", sys.argv[2]]
runpy.run_path({!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two seeds of a model, with the graphs of a pattern: making all takes long, and has tests of its own."""
    found = tmp_path_factory.mktemp("models") / "knee"
    for seed in (1, 2):
        save_model(found, seed, *DRAWS, small=SIZES, at_the_end=("v",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_export, "PATTERNS", QUICK)
        lines: list[str] = []
        graph_export.export_graphs(found, "onnx", lines.append)
    assert len(lines) == 2 and all(f"knee/{seed}/onnx" in "".join(lines) for seed in (1, 2))
    yield found


def clip(pattern: str, length: int, dims: Any) -> dict[str, Any]:
    """Raw features, not all of them finite, with frames of zeros at both ends where there is room for them."""
    g = np.random.default_rng([length, len(pattern)])
    made = {m: g.normal(2, 3, (length, dims[m])) for m in pattern}
    for x in made.values():
        x[0, 0] = np.nan
        if length > 3:
            x[0] = x[-1] = 0
            x[1, 1] = np.inf
    return made


def test_graphs_answer_as_the_model_does(folder: Path) -> None:
    eager, onnx = (imer_ray.load_model(folder, runtime=runtime) for runtime in ("eager", "onnx"))
    clips = [clip(pattern, length, eager.reads.dims) for pattern in QUICK for length in (1, 2, 4, 5, 9)]
    for ours, theirs in zip(onnx.predict(clips), eager.predict(clips), strict=True):
        assert ours.value == pytest.approx(theirs.value, abs=1e-5)
        assert ours.spread == pytest.approx(theirs.spread, abs=1e-5)
        assert (ours.available, ours.recovered, ours.num_repaired) == (
            theirs.available,
            theirs.recovered,
            theirs.num_repaired,
        )
    alone = [onnx.predict(one).value for one in clips]
    assert alone == pytest.approx([one.value for one in onnx.predict(clips)], abs=1e-6)


@pytest.mark.parametrize("length", [1, 3, 5, 9])
def test_the_client_answers_as_the_model_does(folder: Path, tmp_path: Path, length: int) -> None:
    model = imer_ray.load_model(folder / "1", runtime="eager")
    raw = clip("lv", length, model.reads.dims)
    np.savez(tmp_path / "clip.npz", **raw)
    done = asked(folder / "1", tmp_path / "clip.npz")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(model.predict(raw).value, abs=1e-5)


def asked(folder: Path, archive: Path) -> subprocess.CompletedProcess[str]:
    code = CLIENT.format(str(folder / FOLDER / "client.py"))
    command = [sys.executable, "-c", code, "client.py", str(archive)]
    return subprocess.run(command, capture_output=True, text=True, cwd=archive.parent)


def test_the_client_runs_no_other_graph_and_says_what_a_clip_lacks(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(folder / "1", copy)
    np.savez(tmp_path / "clip.npz", l=np.ones((2, 24)), v=np.ones((2, 12)))
    (copy / FOLDER / "lv.onnx").write_bytes(b"damaged")
    done = asked(copy, tmp_path / "clip.npz")
    assert done.returncode == 1 and "lv.onnx is damaged" in done.stderr and "Traceback" not in done.stderr
    for given, said in (({"l": np.ones((2, 5))}, "[frames, 24]"), ({"v": np.zeros((2, 12))}, "nothing of the clip")):
        np.savez(tmp_path / "clip.npz", **given)
        done = asked(copy, tmp_path / "clip.npz")
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_graphs_of_other_weights_are_not_used(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "knee")
    other = tmp_path / "other"
    save_model(other, 1, *DRAWS, small=SIZES, weights=1)
    one = tmp_path / "knee" / "1"
    shutil.copytree(one / FOLDER, other / "1" / FOLDER)
    assert (other / "1" / WEIGHTS).read_bytes() != (one / WEIGHTS).read_bytes()
    with pytest.raises(UserError, match="of other weights"):
        imer_ray.load_model(other, runtime="onnx")
    raw = clip("lv", 4, {"l": 24, "v": 12})
    values = [imer_ray.load_model(other, runtime=runtime).predict(raw).value for runtime in ("auto", "eager")]
    assert values[0] == values[1]


def test_auto_takes_the_graphs_that_are_there(folder: Path) -> None:
    raw = clip("lv", 4, {"l": 24, "v": 12})
    auto, onnx = (imer_ray.load_model(folder, runtime=runtime).predict(raw).value for runtime in ("auto", "onnx"))
    assert auto == onnx


def test_a_damaged_graph_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "knee")
    (tmp_path / "knee" / "1" / FOLDER / "lv.onnx").write_bytes(b"damaged")
    for runtime in ("auto", "onnx"):
        model = imer_ray.load_model(tmp_path / "knee", runtime=runtime)
        with pytest.raises(UserError, match=r"lv\.onnx is damaged"):
            model.predict(clip("lv", 2, model.reads.dims))


def test_without_graphs_onnx_says_how_to_get_them(tmp_path: Path) -> None:
    save_model(tmp_path / "m", 1, small=SIZES)
    with pytest.raises(UserError, match="python -m imer_ray.export model=.*m/1 format=onnx"):
        imer_ray.load_model(tmp_path / "m", runtime="onnx")


@pytest.mark.slow
def test_a_component_that_asks_its_data_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imer_ray.models.pooled import PooledFrames

    whole = PooledFrames.forward

    def asking(self: Any, latents: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return whole(self, latents, frames) * (2 if bool(frames.all()) else 1)

    monkeypatch.setattr(PooledFrames, "forward", asking)
    save_model(tmp_path / "m", 1, small=SIZES)
    with pytest.raises(UserError, match="this model has no graph") as caught:
        export.main([f"model={tmp_path / 'm'}"])
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "m" / "1").iterdir() if path.is_dir()] == []


def test_a_models_graphs_and_a_studys_pick_are_two_things(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of a study"):
        export.main([f"model={tmp_path}", "pick=knee"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_the_command_writes_a_graph_a_pattern(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = save_model(tmp_path / "m", 1, small=SIZES)
    export.main([f"model={tmp_path / 'm'}", f"format={kind}"])
    written = tmp_path / "m" / "1" / kind
    ending = graph_export.ENDINGS[kind]
    names = [*PATTERNS]
    if kind == "onnx":
        names += [f"{pattern}_one" for pattern in PATTERNS] + [f"{pattern}_noise" for pattern in [*PATTERNS][:-1]]
    assert {path.name for path in written.iterdir()} - {"client.py"} == {"graphs.json", *(n + ending for n in names)}
    out, err = capfd.readouterr()
    assert not err  # of what the exporters say of their own insides
    assert len(out.splitlines()) == len(PATTERNS) + 1
    if kind == "torch":
        program = torch.export.load(written / "lv.pt2").module()
        about = json.loads((written / "graphs.json").read_text())["graphs"]["lv"]["inputs"]
        for size in (1, 2, 7):
            features = {m: torch.zeros(size, *about[m][1:]) for m in "lv"}
            frames = {m: torch.ones(size, dataset.lengths[m], dtype=torch.bool) for m in "lv"}
            assert program(features, frames, torch.zeros(size, *about["noise"][1:])).shape == (size,)


@pytest.fixture(scope="module")
def imder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IMDer as published, trained for a moment; its score networks learn the same whatever number of steps samples."""
    root = tmp_path_factory.mktemp("imder")
    config = experiment("preset=imder", *IMDER)
    dataset = load_dataset(config)
    config = replace(config, data_fingerprint=dataset.fingerprint)
    stages = graph(changed(config, {"diffusion.num_steps": 2}), "valid").in_order()
    encode, joint = (next(stage for stage in stages if stage.name == name) for name in ("encode", "joint"))
    store = Store(str(root / "stages"))
    run_graph(joint, store)
    inputs = {name: store.open(joint.key).folder for name in ("recogniser", *(f"network_{m}" for m in "lav"))}
    context = Context(folder=root, checkpoint=root, inputs={"encode": store.open(encode.key).folder, **inputs})
    model = load_model(Parts.of(of_model(config)), context)
    save(root / "imder" / "1", model, of_model(config), load_shape(context), dataset.statistics)
    return root / "imder"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # of training, export and a hundred steps of a large network
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_imder_as_published_has_graphs(imder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 100 steps enlarge the rounding of PyTorch and of a graph alike."""
    monkeypatch.setattr(graph_export, "PATTERNS", ("la",))
    lines: list[str] = []
    graph_export.export_graphs(imder, kind, lines.append)
    (about,) = json.loads((imder / "1" / kind / "graphs.json").read_text())["graphs"].values()
    assert about["inputs"]["noise"][1:4] == [1, 1, 100] and len(lines) == 1
    found = Exactness(**about["exactness"])
    assert found.is_the_models and str(found) in lines[0]

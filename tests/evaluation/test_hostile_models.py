"""A model's folder that somebody sent: it runs nothing, and what is wrong with it is said in one sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from spoiling import LOADER, SMALL, bounded, check_sentence, save_model, save_unsigned

from imer_ray.config.components import Component, option
from imer_ray.errors import UserError
from imer_ray.evaluate import main as evaluate
from imer_ray.evaluation.comparison import Trained, open_model, score_model
from imer_ray.evaluation.model_folder import CONFIG, SHAPE, WEIGHTS, load


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_unsigned(tmp_path_factory.mktemp("models"))


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "sent" / "1111"))


def spoil(model: Path, change: Callable[[dict[str, Any]], Any], name: str = CONFIG) -> None:
    """Change a folder's configuration or another file of settings."""
    tree = yaml.safe_load((model / name).read_text())
    change(tree)
    (model / name).write_text(json.dumps(tree) if name == SHAPE else yaml.safe_dump(tree))


def opened(model: Path) -> Trained:
    return open_model(model, Component.of(option("protocol", "fixed")), {})


def test_a_component_that_imports_a_module_beside_the_model_is_not_built(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = model.parent / "marker"
    (model.parent / "payload.py").write_text(f"open({str(marker)!r}, 'w').close()\nrun = 1\n")
    monkeypatch.syspath_prepend(str(model.parent))  # as `python -m` puts the folder in which it is started
    spoil(model, lambda tree: tree.update(encoder={**LOADER, "path": "payload:run"}))
    with pytest.raises(UserError, match=r"1111/config\.yaml: encoder.*load_function.*is not"):
        evaluate([f"model={model.parent}"])
    assert not marker.exists()


def test_a_component_that_is_a_command_does_not_overwrite_a_file(model: Path, tmp_path: Path) -> None:
    victim = tmp_path / "precious.yaml"
    victim.write_text("precious")
    overrides = ["run=runs/demo", "pick=knee", f"output={victim}"]
    node = {"name": "projection", "_target_": "imer_ray.export.main", "overrides": overrides}
    spoil(model, lambda tree: tree.update(encoder=node))
    with pytest.raises(UserError, match=r"1111/config\.yaml: encoder.*imer_ray\.export\.main.*is not"):
        evaluate([f"model={model.parent}"])
    assert victim.read_text() == "precious"


FOREIGN = {
    "another group's": {"name": "vp", "_target_": "imer_ray.diffusion.sdes.vp.VP"},
    "another option's name": {"name": "imder", "_target_": "imer_ray.models.pooled.Pooled"},
    "a class beside a component": {"name": "projection", "_target_": "imer_ray.models.encoder.Encoder"},
    "a builtin": {"name": "projection", "_target_": "builtins.eval"},
    "a module": {"name": "projection", "_target_": "imer_ray.models.encoder"},
    "gone since": {"name": "conv", "_target_": "imer_ray.models.encoder.Conv"},
    "no text": {"name": ["projection"], "_target_": {"a": 1}},
    "nothing": {"name": None, "_target_": None},
}


@pytest.mark.parametrize("where", ["encoder", "diffusion.backbone", "bank.sampler", "data", "imputer"])
@pytest.mark.parametrize("node", FOREIGN.values(), ids=FOREIGN)
def test_only_a_component_of_its_own_group_is_built(model: Path, where: str, node: dict[str, Any]) -> None:
    def change(tree: dict[str, Any]) -> None:
        *parents, last = where.split(".")
        for parent in parents:
            tree = tree[parent]
        tree[last] = node

    spoil(model, change)
    with pytest.raises(UserError, match=rf"config\.yaml: {where}: .* (is not|is \w+)") as caught:
        load(model)
    check_sentence(caught.value, model)


def bomb(first: str, form: str) -> str:
    """Each line is nine times the one before it."""
    lines = [f"a{i}: &a{i} {form.format(', '.join([f'*a{i - 1}'] * 9))}" for i in range(1, 30)]
    return "\n".join([first, *lines])


TEXTS = {
    "a python tag": "seed: !!python/object/apply:os.system ['touch marker']",
    "a python module": "seed: !!python/module:this",
    "a merge": "a: &a {x: 1}\nb: {<<: *a}",
    "many merges": bomb("a0: &a0 {x: 1}", "{{<<: [{}]}}"),
    "many aliases": bomb("a0: &a0 [x]", "[{}]"),
    "itself": "&a {seed: *a}",
    "nested": "seed: " + "[" * 5000,
    "a long number": "seed: " + "9" * 5000,
    "a hexadecimal number": "seed: 0x" + "f" * 5000,
    "a number of many minutes": "seed: 1" + ":59" * 50000,
    "a day that never was": "seed: 2001-99-99",
    "no boolean": "seed: !!bool maybe",
    "an empty number": "seed: !!int ''",
    "no time": "seed: !!timestamp soon",
    "a surrogate": 'system: "\\ud800"',
    "an escape": 'system: "\\e[2J"',
    "a long key": "x" * 100000 + ": 1",
    "a list": "- seed",
    "a number": "7",
    "nothing": "",
    "no UTF-8": b"seed: \xff\xfe",
    "zeros": b"\0" * 100,
    "a large file": "# " + "x" * 2**20,
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_yaml_that_is_no_configuration_is_told_in_one_sentence(model: Path, text: str | bytes) -> None:
    (model / CONFIG).write_bytes(text.encode() if isinstance(text, str) else text)
    with bounded(), pytest.raises(UserError) as caught:
        load(model)
    check_sentence(caught.value, model)
    assert not Path("marker").exists()


HUGE = {
    "encoder.latent_dim": 10**9,
    "encoder.kernel_size": 10**6,
    "diffusion.backbone.width": 10**9,
    "diffusion.backbone.num_layers": 10**9,
    "diffusion.backbone.num_heads": 10**9,
    "diffusion.num_steps": 10**12,
    "diffusion.num_draws": 10**9,
    "bank.num_steps": 10**12,
    "fusion.num_heads": 10**9,
    "refiner.num_blocks": 10**9,
    "refiner.width": 10**9,
    "speed.batch_size": 10**9,
    "speed.max_repeats": 10**12,
    "speed.num_threads": 10**6,
    "speed.max_seconds": 1e12,
    "data.num_test": 10**12,
    "data.num_frames": 10**9,
    "data.dim_l": 10**9,
    "seed": 2**70,
}


@pytest.mark.parametrize(("path", "value"), HUGE.items(), ids=HUGE)
def test_a_size_beyond_the_weights_is_refused_before_anything_is_made(model: Path, path: str, value: float) -> None:
    def change(tree: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            tree = tree[parent]
        tree[last] = value

    spoil(model, change)
    with bounded(), pytest.raises(UserError) as caught:
        opened(model)
    check_sentence(caught.value, model)


@pytest.mark.parametrize("backbone", ["transformer", "dit", "concat", "mixer", "imder_unet"])
def test_a_model_of_every_backbone_is_outlined_as_it_is_built(tmp_path: Path, backbone: str) -> None:
    fusion = "mult" if backbone == "dit" else "pooled"
    overrides = [f"diffusion.backbone={backbone}", f"fusion={fusion}", "fusion.num_heads=2"]
    keys = [key for key in SMALL if backbone != "imder_unet" or "backbone.width" not in key]
    model = save_model(tmp_path, [*keys, *overrides])
    assert score_model(opened(model), "test", with_replicates=False).metrics


def test_an_older_model_without_newer_settings_predicts_the_same(model: Path) -> None:
    now = score_model(opened(model), "test", with_replicates=False).metrics
    newer = {"compile": None, "evaluate": None, "distill": None, "diffusion": ("guidance", "num_draws", "sharing")}
    newer |= {"speed": ("tolerance", "max_repeats"), "bank": ("num_draws",)}

    def forget(tree: dict[str, Any]) -> None:
        for key, inner in newer.items():
            for name in inner or ():
                del tree[key][name]
            if inner is None:
                del tree[key]

    spoil(model, forget)
    again = opened(model)
    assert score_model(again, "test", with_replicates=False).metrics == now
    assert again.config.compile == "none" and again.config.diffusion.num_draws == 1


@pytest.mark.parametrize("name", [CONFIG, SHAPE, WEIGHTS])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pipe", "is a named pipe"),
        ("folder", "is a folder"),
        ("device", "is a device"),
        ("loop", "cannot be read: too many levels|no trained model in"),
        ("missing", "is no trained model|no trained model in"),
        ("empty", "damaged|holds no configuration"),
    ],
)
def test_what_is_no_file_is_named_and_not_waited_for(model: Path, name: str, kind: str, words: str) -> None:
    path = model / name
    path.unlink()
    make: dict[str, Callable[[], Any]] = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
        "missing": lambda: None,
        "empty": path.touch,
    }
    make[kind]()
    with bounded(), pytest.raises(UserError, match=words) as caught:
        evaluate([f"model={model.parent}"])
    assert str(model.parent) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("name", [CONFIG, SHAPE, WEIGHTS])
def test_a_file_that_may_not_be_read_is_said_to_be_so(model: Path, name: str) -> None:
    for folder in model.parents:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    model.chmod(0o755)
    (model / name).chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(UserError, match=rf"{name} cannot be read: permission denied"):
            load(model)
    finally:
        os.seteuid(0)


SPOILT_WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "one is gone": (lambda t: t.pop("recogniser.missing"), r"'recogniser\.missing' is nothing, and should be \[3, 8\]"),
    "one too many": (lambda t: t.update(more=torch.ones(2)), r"'more' is \[2\], and should be nothing"),
    "another shape": (lambda t: t.update({"encoder.mean": torch.ones(3, 1, 9)}), r"'encoder\.mean' is \[3, 1, 9\]"),
    "another type": (lambda t: t.update({"encoder.mean": t["encoder.mean"].double()}), "float64 instead of .*float32"),
    "not a number": (lambda t: t["encoder.mean"].fill_(torch.nan), r"'encoder\.mean' holds .* not finite"),
    "infinite": (lambda t: t["recogniser.missing"].fill_(torch.inf), r"'recogniser\.missing' holds .* not finite"),
    "none at all": (lambda t: t.clear(), "does not fit"),
    "a strange name": (lambda t: t.update({"\x1b[2J" + "x" * 9999: torch.ones(1)}), "should be nothing"),
}


@pytest.mark.parametrize(("change", "words"), SPOILT_WEIGHTS.values(), ids=SPOILT_WEIGHTS)
def test_weights_that_do_not_fit_are_named(model: Path, change: Callable[[Any], Any], words: str) -> None:
    tensors = load_file(model / WEIGHTS)
    change(tensors)
    save_file(tensors, model / WEIGHTS)
    with pytest.raises(UserError, match=words) as caught:
        load(model)
    check_sentence(caught.value, model)


def test_predictions_that_are_no_numbers_are_the_models_fault_and_are_told(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    save_file({name: torch.full_like(tensor, 1e38) for name, tensor in tensors.items()}, model / WEIGHTS)
    with pytest.raises(UserError, match="predicts numbers that are not finite") as caught:
        score_model(opened(model), "test", with_replicates=False)
    check_sentence(caught.value, model)


@pytest.mark.parametrize("change", [{"path": "pipe"}, {"path": "/dev/zero"}, {"path": "x" * 300}, {"path": "a\0b"}])
@pytest.mark.parametrize("kind", ["store", "mosi_utterance"])
def test_data_of_a_model_that_are_no_file_are_not_waited_for(
    model: Path, kind: str, change: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "folder").mkdir()
    os.mkfifo("folder/dataset.json")
    if kind == "store" and change["path"] == "pipe":
        change = {"path": "folder"}
    spoil(model, lambda tree: tree.update(data={**option("data", kind), **change}))
    with bounded(), pytest.raises(UserError):
        opened(model)

"""What stages declare that they read is what their tasks read, and the set of stages that a setting costs is known."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
import yaml
from experiments import experiment

from imer_ray.config.components import Component
from imer_ray.config.experiment import ExperimentConfig, LoopConfig, SpeedConfig
from imer_ray.config.resolve import component_options, tree_of, typed
from imer_ray.config.slice import Slice
from imer_ray.config.slices import Evaluate, Pretrain, StageSlice
from imer_ray.config.tree import flatten, replace
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import load_function
from imer_ray.systems import graph

STAGES = ("encode", "pretrain", "distill", "impute", "recognise", "fuse", "classify", "joint")
SMALL = (
    *("data.num_train=24", "data.num_valid=12", "data.num_test=12", "bank.num_steps=1", "diffusion.num_steps=2"),
    *("distill.num_steps=2", "distill.num_draws=1", "diffusion.condition_dropout=0.1", "encoder.latent_dim=8"),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=2"),
    *(f"training.{stage}.num_epochs=1" for stage in STAGES),
)
RUNS = {
    **{name: (f"system={name}",) for name in ("imder", "masked", "mean", "mixture", "student")},
    **{name: (f"system={name}",) for name in ("autoencoder", "flow_transfer", "regression", "zero")},
    "rohydr": ("system=rohydr", "distill.method=consistency"),
    "decoupled": ("distill.method=reflow",),
    "frames": ("system=masked", "protocol=frames"),
    "shared": ("diffusion.sharing=shared", "diffusion.guidance=2"),
}
EVERYWHERE = {f.name for f in fields(StageSlice)}  # part of every key, read or not


def recording(read: Any, seen: set[str], prefix: str = "") -> Any:
    """The same slice or section, which notes the path of every field that is read of it."""
    kind = type(read)
    names = {f.name for f in fields(read)}

    class Recording(kind):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            if name in names:
                seen.add(prefix + name)
            return super().__getattribute__(name)

    made = object.__new__(Recording)
    for name in names:
        value = getattr(read, name)
        is_section = is_dataclass(value) and not isinstance(value, Component)
        vars(made)[name] = recording(value, seen, f"{prefix}{name}.") if is_section else value
    return made


def declared(read: Any, prefix: str = "") -> set[str]:
    """The paths of a slice's fields, those of sections that are slices one by one."""
    found = set()
    for f in fields(read):
        value = getattr(read, f.name)
        if isinstance(value, Slice | LoopConfig | SpeedConfig):
            found |= declared(value, f"{prefix}{f.name}.")
        elif value is not None:
            found.add(prefix + f.name)
    return found


def slice_of(stage: Stage) -> StageSlice:
    """What a stage gives its task."""
    task = inspect.unwrap(load_function(stage.function))
    kind: type[StageSlice] = get_type_hints(task)["config"]
    return kind.read(stage.settings)


def run(stage: Stage, root: Path, folders: dict[str, Path]) -> tuple[set[str], set[str]]:
    """Run a stage; what it declares, and what its task reads of that."""
    function, seen, read = load_function(stage.function), set[str](), slice_of(stage)
    folder = root / stage.key
    (folder / "checkpoint").mkdir(parents=True)
    inputs = {role: folders[source.key] for role, source in stage.inputs.items()}
    context = Context(folder=folder, checkpoint=folder / "checkpoint", inputs=inputs)
    inspect.unwrap(function)(recording(read, seen), context)
    folders[stage.key] = folder
    return declared(read), seen


@pytest.fixture(scope="module")
def folders() -> dict[str, Path]:
    return {}


@pytest.mark.parametrize("name", RUNS)
def test_every_setting_that_a_stage_declares_is_read_by_its_task(
    name: str, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing else can be: a slice has no other attributes."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp(name)
    for stage in graph(experiment(*SMALL, *RUNS[name]), "valid").in_order():
        if stage.key not in folders:
            wanted, seen = run(stage, root, folders)
            assert wanted - seen - EVERYWHERE == set(), stage.name


def test_a_slice_is_the_same_when_it_comes_back_from_its_tree() -> None:
    for words in RUNS.values():
        for stage in graph(experiment(*SMALL, *words), "valid").in_order():
            read = slice_of(stage)
            assert type(read).read(read.tree) == read


def test_what_a_slice_does_not_declare_cannot_be_read() -> None:
    read = Pretrain.of(experiment(), modality="l")
    for name in ("fusion", "bank", "split"):
        with pytest.raises(AttributeError):
            getattr(read, name)
    assert Evaluate.of(experiment(), split="valid").tree.keys().isdisjoint({"diffusion", "refiner", "imputer"})


EXPECTED = yaml.safe_load((Path(__file__).parent / "recomputed.yaml").read_text(encoding="utf-8"))
OTHER = {
    "diffusion.sharing": ("shared", "per_modality"),
    "bank.mode": ("same", "reference"),
    "distill.method": ("reflow", "consistency"),
    "protocol": ("random", "fixed"),
}
BASE = ("diffusion.condition_dropout=0.1",)


def another(path: str, value: Any, options: dict[str, Any]) -> Any:
    """A value that the configuration does not have."""
    if path in OTHER:
        return next(choice for choice in OTHER[path] if choice != value)
    if path in options:
        return next(name for name in options[path] if name != value)
    if path == "diffusion.guidance":
        return 3.0 if value == 1 else 1.0
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 0.9 * value if value else 0.05
    if isinstance(value, list):
        return value[:1] if len(value) > 1 else [*value, 1]
    if value is None:
        return [] if path.startswith("evaluate.grid.") else 1
    return f"{value}x"


def keys(config: Any) -> dict[str, str]:
    return {stage.name: stage.key for stage in graph(config, "valid").in_order()}


@pytest.mark.parametrize("words", EXPECTED)
def test_a_setting_recomputes_the_stages_that_it_always_has(words: str) -> None:
    """Sharing between trials rests on it."""
    config, options = experiment(*BASE, *words.split(), fingerprint="clips"), component_options()
    tree = tree_of(config)
    before, found = keys(config), dict[str, set[str]]()
    for path, value in flatten(tree).items():
        if path != "system":
            after = keys(typed(replace(tree, {path: another(path, value, options)}, options), ExperimentConfig))
            found[path] = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    named = {path: set(stages.split()) for stages, paths in EXPECTED[words].items() for path in paths.split()}
    for path, stages in found.items():
        above = [path, *(path.rsplit(".", up)[0] for up in range(1, path.count(".") + 1))]
        assert stages == next((named[place] for place in above if place in named), set()), path


@pytest.mark.parametrize(
    ("system", "learns"),
    [
        *((name, {"recognise"}) for name in ("autoencoder", "decoupled", "masked", "regression")),
        *(("imder", {"joint"}), ("rohydr", {"classify"}), ("mean", set()), ("zero", set())),
        ("mixture", {"mixture", "cost"}),  # whose shape depends on what it learns
    ],
)
def test_recognisers_that_learn_with_something_missing_learn_anew_where_frames_are_missing(
    system: str, learns: set[str]
) -> None:
    """Of whole modalities they learn under every pattern, whichever protocol scores them."""
    words = (f"system={system}", "distill.method=none")
    fixed, random, frames, blocks = (
        keys(experiment(*words, *protocol.split(), fingerprint="clips"))
        for protocol in ("protocol=fixed", "protocol=random", "protocol=frames", "protocol=frames protocol.kind=blocks")
    )
    assert {name for name in fixed if fixed[name] != random[name]} == {"evaluate"}
    assert {name for name in fixed if fixed[name] != frames[name]} == {"evaluate", *learns}
    assert {name for name in fixed if frames[name] != blocks[name]} == {"evaluate", *learns}

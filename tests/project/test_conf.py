"""Every option of every component group builds, and only changes what its dataclass does not say already."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from importlib import resources

import pytest
import yaml

from imer_ray.config import components, compose, resolve
from imer_ray.config.commands import (
    ConvertConfig,
    EvaluateCommandConfig,
    ExportConfig,
    FinetuneConfig,
    GenerateConfig,
    PredictConfig,
    SearchConfig,
    StagesConfig,
    TrainConfig,
)
from imer_ray.config.tree import get
from imer_ray.errors import UserError

COMMANDS = (SearchConfig, GenerateConfig)
GROUPS = sorted(
    {group for schema in COMMANDS for _, group in resolve.component_groups(schema)} | {"imputer", "extractor"}
)
OPTIONS = [(group, name) for group in GROUPS for name in components.options(group)]


def test_there_is_a_choice_in_every_group() -> None:
    assert {group for group, _ in OPTIONS} == set(GROUPS)
    conf = resources.files("imer_ray.conf")
    folders = {entry.name for entry in conf.iterdir() if entry.is_dir() and entry.name != "__pycache__"}
    assert folders == {group.partition("/")[0] for group in GROUPS} | {"preset", "shape"}


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=lambda value: value)
def test_every_option_builds(group: str, name: str) -> None:
    node = components.option(group, name)
    component = components.build(node)
    assert node["name"] == name
    assert is_dataclass(component) and type(component).__dataclass_params__.frozen


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=lambda value: value)
def test_an_option_does_not_repeat_its_defaults(group: str, name: str) -> None:
    text = resources.files("imer_ray.conf").joinpath(*group.split("/"), f"{name}.yaml").read_text()
    written = yaml.safe_load(text)
    written = written.get(group, written)
    defaults = {f.name: f.default for f in fields(components.build(components.option(group, name)))}
    for key, value in written.items():
        if key not in ("name", "_target_"):
            assert defaults[key] is MISSING or value != defaults[key], f"{key} is the default"


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        (SearchConfig, "search"),
        (TrainConfig, "train"),
        (EvaluateCommandConfig, "evaluate"),
        (PredictConfig, "predict"),
        (ExportConfig, "export"),
        (ConvertConfig, "convert"),
        (FinetuneConfig, "finetune"),
        (GenerateConfig, "generate"),
        (StagesConfig, "stages"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_command_has_a_complete_default(schema: type, name: str) -> None:
    assert isinstance(compose.compose(schema, name, []), schema)


PRESETS = {
    "imder": {
        "system": "imder",
        "diffusion.sde": "imder_ve",
        "diffusion.backbone": "imder_unet",
        "diffusion.num_steps": 100,
    },
    "decoupled": {"system": "decoupled", "diffusion.backbone": "transformer", "fusion": "imder", "refiner": "imder"},
    "rohydr": {
        "system": "rohydr",
        "diffusion.backbone": "dit",
        "loss.lambda_c": 0.4,
        "diffusion.backbone.num_layers": 6,
    },
}


def test_there_is_a_preset_for_every_published_system() -> None:
    assert set(components.options(components.PRESETS)) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_chooses_and_what_else_is_said_comes_on_top(name: str) -> None:
    tree = resolve.tree_of(compose.compose(SearchConfig, "search", [f"preset={name}"]))
    assert {path: get(tree, path) for path in PRESETS[name]} == PRESETS[name]
    changed = compose.compose(SearchConfig, "search", ["diffusion.sde=ve", f"preset={name}", "diffusion.num_steps=3"])
    assert changed.diffusion.sde.name == "ve" and changed.diffusion.num_steps == 3
    assert changed.diffusion.backbone.name == get(tree, "diffusion.backbone")


@pytest.mark.parametrize("data", components.options("data"))
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_goes_with_every_data_set(name: str, data: str) -> None:
    config = compose.compose(SearchConfig, "search", [f"preset={name}", f"data={data}"])
    assert config.data.name == data and config.fusion.name == "imder" and config.system == name


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="preset=imdre: .*imder"):
        compose.compose(SearchConfig, "search", ["preset=imdre"])

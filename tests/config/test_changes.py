"""Other components and other data for a configuration that a study found: as in a fresh composition, never renamed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from imer_ray.config.changes import change
from imer_ray.config.components import option, options
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import component_groups, config_of, tree_of
from imer_ray.config.tree import flatten, get, replace
from imer_ray.config.typed_text import Typed
from imer_ray.errors import UserError

GROUPS = dict(component_groups(ExperimentConfig))


def composed(*words: str) -> ExperimentConfig:
    return compose(ExperimentConfig, "experiment", list(words))


@pytest.fixture(scope="module")
def pick() -> ExperimentConfig:
    """What a study on synthetic clips may have found."""
    words = ["data.num_train=96", "diffusion.sampler=heun", "diffusion.num_steps=7", "encoder.dropout=0.3"]
    return dataclasses.replace(composed(*words, "training.recognise.learning_rate=5e-3"), data_fingerprint="f" * 64)


def with_(config: ExperimentConfig, path: str, node: dict[str, Any]) -> ExperimentConfig:
    return config_of(replace(tree_of(config), {path: node}, {}), ExperimentConfig)


@pytest.mark.parametrize("path", [path for path in GROUPS if path != "data"])
@pytest.mark.parametrize("form", ["{}", "{}.name"])
def test_a_component_given_by_name_is_swapped_not_renamed(pick: ExperimentConfig, path: str, form: str) -> None:
    for name in options(GROUPS[path]):
        changed, followed = change(pick, {form.format(path): Typed(name)})
        assert changed == with_(pick, path, option(GROUPS[path], name)) and not followed
        assert changed.data_fingerprint == pick.data_fingerprint


def test_settings_of_the_new_component_are_its_own_in_any_order_and_shape(pick: ExperimentConfig) -> None:
    wanted = with_(pick, "diffusion.sde", {**option("diffusion/sde", "ve"), "sigma_max": 30.0})
    for settings in (
        {"diffusion.sde": Typed("ve"), "diffusion.sde.sigma_max": Typed("30")},
        {"diffusion.sde.sigma_max": 30, "diffusion.sde.name": "ve"},
        {"diffusion": {"sde": {"name": "ve", "sigma_max": 30.0}}},
        {"diffusion": Typed("{sde: {name: ve, sigma_max: 30}}")},
    ):
        assert change(pick, settings)[0] == wanted


@pytest.mark.parametrize("path", GROUPS)
def test_an_unknown_name_is_refused_with_the_nearest(pick: ExperimentConfig, path: str) -> None:
    name = options(GROUPS[path])[0]
    with pytest.raises(UserError, match=f"{path}={name}x: unknown key or option; did you mean {name}?"):
        change(pick, {path: Typed(f"{name}x")})


@pytest.mark.parametrize("key", ["data", "data.name"])
def test_other_data_bring_their_component_and_what_they_set(pick: ExperimentConfig, key: str) -> None:
    changed, followed = change(pick, {key: Typed("mosi_utterance"), "data.path": Typed("a (1).parquet")})
    assert changed.data.node == {**option("data", "mosi_utterance"), "path": "a (1).parquet"}
    assert changed.data_fingerprint is None
    fresh = tree_of(composed("data=mosi_utterance", "diffusion.sampler=heun"))
    assert followed["fusion.out_dropout"] == 0.7 == changed.fusion.settings["out_dropout"]
    assert {path: get(fresh, path) for path in followed} == followed
    assert changed.encoder.settings["dropout"] == 0.3, "what a search chose stays"
    assert changed.training.recognise.learning_rate == 5e-3
    before, after = flatten(tree_of(pick)), flatten(tree_of(changed))
    differ = {path for path, value in after.items() if before.get(path) != value}
    assert {path for path in differ if not path.startswith("data")} == set(followed)


def test_what_data_set_goes_with_them_again(pick: ExperimentConfig) -> None:
    there, _ = change(pick, {"data.name": "mosi_utterance"})
    back, _ = change(there, {"data": "synthetic", "data.num_train": 96})
    assert back == dataclasses.replace(pick, data_fingerprint=None)


@pytest.mark.parametrize("data", options("data"))
@pytest.mark.parametrize("preset", options("preset"))
def test_a_preset_on_other_data_is_what_a_fresh_composition_gives(preset: str, data: str) -> None:
    changed, _ = change(composed(f"preset={preset}"), {"data.name": data})
    assert changed == composed(f"preset={preset}", f"data={data}")


def test_the_same_data_elsewhere_stay_the_same_and_others_do_not(pick: ExperimentConfig) -> None:
    store, _ = change(pick, {"data": "store", "data.path": "a"})
    store = dataclasses.replace(store, data_fingerprint="f" * 64)
    assert change(store, {"data.path": "b"})[0].data_fingerprint == "f" * 64
    assert change(store, {"data": "store", "data.path": "b"})[0].data_fingerprint is None
    assert change(pick, {"data.num_test": 5})[0].data_fingerprint is None
    with pytest.raises(UserError, match=r"data.path: unknown key or option.*data is synthetic"):
        change(pick, {"data.path": "b"})

"""A resolved tree and a typed configuration say the same."""

import dataclasses

import pytest

from imer_ray.config.commands import SearchConfig
from imer_ray.config.components import Component, option, options
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig, LoopConfig
from imer_ray.config.resolve import resolve, tree_of, typed
from imer_ray.errors import UserError


@pytest.mark.parametrize("preset", options("preset"))
def test_a_typed_configuration_gives_its_tree_back(preset):
    config = compose(SearchConfig, "search", [f"preset={preset}", "evaluate.grid.num_steps=[1,2]"])
    tree = tree_of(config)
    assert typed(tree, SearchConfig) == config and resolve(tree, SearchConfig) == tree
    assert tree_of(config, ExperimentConfig).keys() == {f.name for f in dataclasses.fields(ExperimentConfig)}
    assert config.training.encode == LoopConfig(**tree["training"]["encode"])
    assert config.evaluate.grid.num_steps == (1, 2)


@pytest.mark.parametrize("name", options("diffusion/sampler"))
def test_a_component_builds_what_its_node_describes(name):
    node = option("diffusion/sampler", name)
    built = Component.of(node).build()
    assert f"{type(built).__module__}.{type(built).__name__}" == node["_target_"]
    assert {f.name: getattr(built, f.name) for f in dataclasses.fields(built)} == dict(Component.of(node).settings)


def test_what_a_section_refuses_is_said_with_its_path():
    whole = tree_of(compose(SearchConfig, "search", []), ExperimentConfig)
    whole["diffusion"] = {**whole["diffusion"], "num_steps": 0}
    with pytest.raises(UserError, match=r"^diffusion: num_steps must be at least 1, not 0$"):
        resolve(whole)


def test_a_tree_of_an_earlier_version_has_the_defaults_of_what_has_come_since():
    tree = tree_of(compose(ExperimentConfig, "experiment", ["diffusion.num_steps=7"]))
    del tree["plugins"], tree["diffusion"]["guidance"]
    config = typed(tree, ExperimentConfig)
    assert (config.plugins, config.diffusion.guidance, config.diffusion.num_steps) == ((), 1.0, 7)

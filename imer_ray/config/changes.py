"""An experiment's configuration with other settings, other components or other data than it was chosen with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imer_ray.config.components import option, options
from imer_ray.config.compose import compose, sort_out
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import component_groups, config_of, tree_of
from imer_ray.config.tree import flatten, merge, replace
from imer_ray.config.typed_text import flat, nest

DATA, ELSEWHERE = "data", "data.path"


def change(config: ExperimentConfig, settings: Mapping[str, Any]) -> tuple[ExperimentConfig, dict[str, Any]]:
    """The configuration with ``settings`` changed, ``{path: value}``, nested or not, and what followed from other data.

    A component that is named begins with its own defaults. Other data bring along what their option sets beside
    themselves, unless the configuration has chosen otherwise, and their fingerprint is not known yet.

    Raises:
        UserError: a setting or option is unknown, or a value impossible.
    """
    groups = dict(component_groups(ExperimentConfig))
    chosen, others = sort_out(flat(settings), ExperimentConfig)
    tree, followed = tree_of(config), dict[str, Any]()
    if DATA in chosen:
        followed = _following(config, chosen[DATA])
        tree = replace(tree, followed, {})
    if DATA in chosen or any(path.startswith(f"{DATA}.") and path != ELSEWHERE for path, _ in others):
        tree = {**tree, "data_fingerprint": None}  # other data are asked for, not the same ones elsewhere
    for path, name in chosen.items():
        tree = replace(tree, {path: option(groups[path], name)}, {})
    return config_of(merge(tree, nest(others)), ExperimentConfig), followed


def _following(config: ExperimentConfig, name: str) -> dict[str, Any]:
    """``{path: value}`` of what the data set ``name`` sets beside itself and the configuration has from its old data.

    Two fresh compositions with the configuration's components tell what each data set gives; what differs from its old
    data's was chosen, by a search or by hand, and stays.
    """
    if config.data.name not in options(DATA):
        return {}
    here = flatten(tree_of(config))
    before, after = (_fresh(here, data) for data in (config.data.name, name))
    return {
        path: value
        for path, value in after.items()
        if path.partition(".")[0] != DATA and value != before.get(path) and here.get(path) == before.get(path)
    }


def _fresh(here: Mapping[str, Any], data: str) -> dict[str, Any]:
    words = [f"{path}={here[path]}" for path, _ in component_groups(ExperimentConfig) if path != DATA]
    return flatten(tree_of(compose(ExperimentConfig, "experiment", [*words, f"{DATA}={data}"])))

"""An experiment's configuration with other settings, other components or other data than it was chosen with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imer_ray.config.components import option, options
from imer_ray.config.compose import compose, sort_out
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import component_groups, resolve
from imer_ray.config.tree import flatten, merge, replace
from imer_ray.config.typed_text import flat, nest

DATA, ELSEWHERE = "data", "data.path"


def change(config: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration with ``settings`` changed, ``{path: value}``, nested or not, and what followed from other data.

    A component that is named begins with its own defaults. Other data bring along what their option sets beside
    themselves, unless the configuration has chosen otherwise, and their fingerprint is not known yet.

    Raises:
        UserError: a setting or option is unknown, or a value impossible.
    """
    groups = dict(component_groups(ExperimentConfig))
    chosen, others = sort_out(flat(settings), ExperimentConfig)
    followed: dict[str, Any] = {}
    if DATA in chosen:
        followed = _following(config, chosen[DATA])
        config = replace(config, followed, {})
    if DATA in chosen or any(path.startswith(f"{DATA}.") and path != ELSEWHERE for path, _ in others):
        config = {**config, "data_fingerprint": None}  # other data are asked for, not the same ones elsewhere
    for path, name in chosen.items():
        config = replace(config, {path: option(groups[path], name)}, {})
    return resolve(merge(config, nest(others))), followed


def _following(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``{path: value}`` of what the data set ``name`` sets beside itself and the configuration has from its old data.

    Two fresh compositions with the configuration's components tell what each data set gives; what differs from its old
    data's was chosen, by a search or by hand, and stays.
    """
    if config[DATA]["name"] not in options(DATA):
        return {}
    before, after = (_fresh(config, data) for data in (config[DATA]["name"], name))
    here = flatten(config)
    return {
        path: value
        for path, value in after.items()
        if path.partition(".")[0] != DATA and value != before.get(path) and here.get(path) == before.get(path)
    }


def _fresh(config: Mapping[str, Any], data: str) -> dict[str, Any]:
    here = flatten(config)
    words = [f"{path}={here[path]}" for path, _ in component_groups(ExperimentConfig) if path != DATA]
    return flatten(compose(ExperimentConfig, "experiment", [*words, f"{DATA}={data}"]))

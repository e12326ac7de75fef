"""Configurations in Python, and how a function's arguments become a command's words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imer_ray.config.compose import compose as composed
from imer_ray.config.experiment import ExperimentConfig


def compose(*overrides: str) -> ExperimentConfig:
    """One configuration of one system on one data set, from ``key=value`` words as the commands take them.

        imer_ray.compose("preset=imder", "training.joint.num_epochs=4")

    Raises:
        UserError: an unknown key or option, or a value that cannot be.
    """
    return composed(ExperimentConfig, "experiment", list(overrides))


def word(key: str, value: str | Path | int | Sequence[str | Path | int]) -> str:
    """``key=value`` as a command reads it, whatever text the value is."""
    if isinstance(value, (str, Path)):
        return f"{key}={_quoted(value)}"
    if isinstance(value, int):
        return f"{key}={value}"
    return f"{key}=[{','.join(str(one) if isinstance(one, int) else _quoted(one) for one in value)}]"


def _quoted(text: str | Path) -> str:
    return '"' + str(text).replace('"', r"\"") + '"'

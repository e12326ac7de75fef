"""Stages: one module a kind, whose ``run`` is given the kind's slice of the configuration and nothing else of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from imer_ray.config.slice import Slice
from imer_ray.stages.context import Context, StageFunction

Read = TypeVar("Read", bound=Slice)


def reads(kind: type[Read]) -> Callable[[Callable[[Read, Context], Mapping[str, float]]], StageFunction]:
    """Make a function of a slice the function of a stage: what the stage holds as a tree, it is given as a slice."""

    def wrapped(function: Callable[[Read, Context], Mapping[str, float]]) -> StageFunction:
        @functools.wraps(function)
        def run(settings: Mapping[str, Any], context: Context) -> Mapping[str, float]:
            return function(kind.read(settings), context)

        return run

    return wrapped

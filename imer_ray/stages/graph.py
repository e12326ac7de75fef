"""A configuration is a small graph of stages; a stage's key names its result wherever it was computed."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A function of its slice of the configuration and of its input artefacts, nothing else.

    Attributes:
        name: for people, for example ``pretrain[l]``.
        function: dotted path ``module:function`` of a `StageFunction`; loaded only where the stage runs. Only its
            root package, which says whose kind of stage this is, is part of the key: modules may move.
        config: the slice of the resolved configuration that the function reads (JSON values).
        data: fingerprint of the data it reads.
        inputs: role -> the stage whose artefact it reads.
        version: raised by hand when the function's meaning changes, so that old artefacts are not taken for new ones.
        location: slice entries that say where things lie and not what they are (paths), nested like ``config``; they
            are laid over it when the function runs and are not part of the key.
        rungs: epochs after which it reports how it compares, see `imer_ray.stages.rungs`; not part of the key.
    """

    name: str
    function: str
    config: Mapping[str, Any]
    data: str
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    version: int = 1
    location: Mapping[str, Any] = field(default_factory=dict)
    rungs: tuple[int, ...] = ()

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 (first 32 hex digits) of kind, whose it is, version, slice, data fingerprint and the inputs' keys."""
        identity = {
            "kind": self.kind,
            "of": self.function.partition(":")[0].partition(".")[0],
            "version": self.version,
            "config": self.config,
            "data": self.data,
            "inputs": {role: stage.key for role, stage in sorted(self.inputs.items())},
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def settings(self) -> dict[str, Any]:
        """What the function is given: the slice with the locations laid over it."""
        return _overlaid(self.config, self.location)

    @property
    def kind(self) -> str:
        """The name without its argument: ``pretrain`` of ``pretrain[l]``."""
        return self.name.partition("[")[0]

    def with_rungs(self, rungs: tuple[int, ...]) -> Stage:
        """The same stage on the same inputs, all of which report after these epochs."""
        inputs = {role: stage.with_rungs(rungs) for role, stage in self.inputs.items()}
        return replace(self, inputs=inputs, rungs=rungs)

    def in_order(self) -> Iterator[Stage]:
        """This stage and all it needs, inputs before users, each once."""
        seen: set[str] = set()

        def visit(stage: Stage) -> Iterator[Stage]:
            if stage.key in seen:
                return
            seen.add(stage.key)
            for role in sorted(stage.inputs):
                yield from visit(stage.inputs[role])
            yield stage

        yield from visit(self)


def most_needed_first(stages: Iterable[Stage]) -> list[Stage]:
    """The stages by how many of them stand on each, falling: what most others wait for is to be asked for first.

    A worker group, for instance, must not wait for all its CPUs behind a small stage that nobody else needs.
    """
    stages = list(stages)
    num_users = Counter(source.key for stage in stages for source in stage.in_order())
    return sorted(stages, key=lambda stage: -num_users[stage.key])


def _overlaid(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(config)
    for name, value in changes.items():
        below = merged.get(name)
        merged[name] = _overlaid(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged

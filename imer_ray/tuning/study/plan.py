"""A search that has been checked: what is searched, from where, for what, and where it is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imer_ray.config.commands import SearchConfig
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.results.schema import TIMES, DataInfo, Objective, StudyInfo
from imer_ray.stages.graph import Stage
from imer_ray.systems import graph
from imer_ray.tuning.objectives.constraints import Constraint
from imer_ray.tuning.space.check import Configurations
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.trial.coordinator import SPLIT


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A search that has been checked; nothing runs yet.

    Attributes:
        options: what the search was told.
        base: tree of the configuration that trials change, with the data's fingerprint filled in.
        systems: package of the systems' modules.
        machine: hardware that times are measured on; known when there is a cluster.
    """

    options: SearchConfig
    base: Mapping[str, Any]
    space: Space
    objectives: tuple[Objective, ...]
    configurations: Configurations
    constraints: tuple[Constraint, ...] = ()
    data: DataInfo | None = None
    systems: str = "imer_ray.systems"
    machine: str | None = None

    @property
    def folder(self) -> Path:
        return Path(self.options.study.root) / self.options.study.name

    @property
    def stages(self) -> str:
        """Folder or URI of the artefacts; absolute, because workers may have another working folder."""
        study = self.options.study
        stages = study.stages or str(Path(study.root) / "stages")
        return stages if "://" in stages else os.path.abspath(stages)

    @property
    def info(self) -> StudyInfo:
        study = self.options.study
        return StudyInfo(
            study=study.name,
            objectives=self.objectives,
            num_trials=study.num_trials,
            searcher=study.searcher,
            space=tuple(p.path for p in self.space.parameters),
            constraints=tuple(constraint.text for constraint in self.constraints),
            data=self.data,
        )

    def final_stage(self, config: Mapping[str, Any]) -> Stage:
        """The `evaluate` stage of a configuration; its key is the same for configurations with the same results."""
        return graph(typed(config, ExperimentConfig), SPLIT, self.systems, self.machine)

    @property
    def is_timed(self) -> bool:
        """Whether what the study wants depends on the hardware."""
        wanted = {*(each.metric for each in self.objectives), *(constraint.column for constraint in self.constraints)}
        return not wanted.isdisjoint(TIMES)

    def first_stages(self, configs: Sequence[Mapping[str, Any]]) -> list[Stage]:
        """What a trial asks for first, whichever of these configurations it has: stages that need no other."""
        first, *others = ({s.key: s for s in self.final_stage(config).in_order() if not s.inputs} for config in configs)
        return [stage for key, stage in first.items() if all(key in other for other in others)]

    def identify(self, config: Mapping[str, Any]) -> str:
        """Equal for configurations that would give the same results."""
        return graph(typed(config, ExperimentConfig), SPLIT, self.systems).key

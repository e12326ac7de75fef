"""What the tests of a system's stages share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import changed, experiment, of_model
from safetensors.torch import load_file

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import load_function
from imer_ray.systems import rohydr
from imer_ray.training.latents import Latents

SMALL = ["system=rohydr", "data.num_train=40", "data.num_valid=24", "data.num_test=24", "data.num_frames=9"]
SMALL += ["data.dim_l=9", "data.dim_a=4", "data.dim_v=5", "encoder.latent_dim=16", "bank.num_steps=2"]
SMALL += [f"training.{name}.num_epochs=2" for name in ("encode", "pretrain", "fuse", "classify")]
SMALL += [f"training.{name}.batch_size=16" for name in ("encode", "pretrain", "fuse", "classify")]


class RohydrRun:
    """All stages of RoHyDR but the last and its cost, each in a folder of its own."""

    def __init__(self, root: Path, config: ExperimentConfig) -> None:
        self.config, self.folders, self.stages = config, {}, self.stages_of(config)
        for name, stage in self.stages.items():
            self.folders[name] = self.run_stage(stage, root / name)

    @staticmethod
    def stages_of(config: ExperimentConfig) -> dict[str, Stage]:
        stages = rohydr.graph(config, "valid").in_order()
        return {stage.name: stage for stage in stages if stage.name not in ("cost", "evaluate")}

    def inputs(self, stage: Stage) -> dict[str, Path]:
        return {role: self.folders[s.name] for role, s in stage.inputs.items()}

    def run_stage(self, stage: Stage, folder: Path, inputs: dict[str, Path] | None = None) -> Path:
        """Where a stage's artefact is, made of this run's unless other inputs are given."""
        for name in ("artefact", "checkpoint"):
            (folder / name).mkdir(parents=True)
        given = self.inputs(stage) if inputs is None else inputs
        context = Context(folder=folder / "artefact", checkpoint=folder / "checkpoint", inputs=given)
        load_function(stage.function)(stage.settings, context)
        return folder / "artefact"

    def context(self, name: str) -> Context:
        folder = self.folders[name]
        return Context(folder=folder, checkpoint=folder, inputs=self.inputs(self.stages[name]))

    def changed(self, **changes: Any) -> ExperimentConfig:
        """The configuration with some settings changed, their dots written as two underscores."""
        given = {key.replace("__", "."): value for key, value in changes.items()}
        return changed(self.config, given)

    @property
    def parts(self) -> Parts:
        return self.parts_of(self.config)

    @staticmethod
    def parts_of(config: ExperimentConfig) -> Parts:
        return Parts.of(of_model(config))

    def weights(self, name: str, file: str = "recogniser.safetensors") -> dict[str, torch.Tensor]:
        return load_file(self.folders[name] / file)

    def latents(self) -> Latents:
        return Latents.load(self.folders["encode"] / "latents_train.safetensors")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RohydrRun:
    return RohydrRun(tmp_path_factory.mktemp("rohydr"), experiment(*SMALL))

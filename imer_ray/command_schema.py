"""What each command can be told; the experiment that it is about is in `imer_ray.schema`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imer_ray.schema import ExperimentConfig, component

SEEDS = (1111, 1112, 1113, 1114, 1115)


def overrides() -> Any:
    """Changes to what a file says: where its data lie here (``data.path``), a larger test split, other settings."""
    return field(default_factory=dict, metadata={"overrides": True})


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """Which hardware a stage takes, and which stages run on Ray Train worker groups."""

    num_workers: int = 2
    train_stages: tuple[str, ...] = ("encode",)
    cpus_per_stage: float = 1
    gpus_per_stage: float = 0
    max_failures: int = 2
    address: str | None = None  # None: start a local Ray, or join the cluster that RAY_ADDRESS names


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    name: str = "demo"
    num_trials: int = 24
    root: str = "runs"
    stages: str | None = None  # artefacts shared by all studies; None: <root>/stages
    seed: int = 1111
    searcher: str = field(default="tpe", metadata={"choices": ("tpe", "nsga2", "random")})
    num_startup_trials: int = 8
    quality: str = "Non0_F1_score"
    speed: str = field(default="latency", metadata={"choices": ("latency", "flops", "nfe")})
    slots: int = 4  # trials in flight; a trial that waits holds no CPU

    def __post_init__(self) -> None:
        if self.num_trials < 1 or self.slots < 1 or self.num_startup_trials < 1:
            raise ValueError("study.num_trials, study.slots and study.num_startup_trials must be at least 1")
        if not self.name or any(part in ("", ".", "..") for part in self.name.split("/")):
            raise ValueError(f"study.name must be a plain folder name, not {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(ExperimentConfig):
    study: StudyConfig = field(default_factory=StudyConfig)
    space: str = "default"  # a name in search_spaces/ or a path to a YAML file
    scaling: ScalingConfig = field(default_factory=ScalingConfig)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    config: str = "runs/demo/export/quality.yaml"  # or the name of a preset
    seeds: tuple[int, ...] = SEEDS
    baselines: tuple[str, ...] = ("zero", "masked")
    output: str | None = None  # None: models/<name of the configuration file>
    stages: str = "runs/stages"
    data: Mapping[str, Any] = overrides()
    settings: Mapping[str, Any] = overrides()
    scaling: ScalingConfig = field(default_factory=ScalingConfig)


@dataclass(frozen=True, kw_only=True)
class EvaluateCommandConfig:
    model: tuple[str, ...] = ("models/quality",)  # several are laid side by side
    protocol: Mapping[str, Any] = component("protocol")
    against: str | None = None  # system that the others are tested against; None: masked, if it is there
    published: bool = False  # lay published numbers beside, where the data are CMU-MOSI or CMU-MOSEI
    data: Mapping[str, Any] = overrides()
    output: str | None = None  # None: the model's folder; of several models, one beside theirs

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model must name the folder of at least one trained model")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    run: str = "runs/demo"
    pick: str | None = None  # quality, speed, knee or a trial's number
    max_latency_ms: float | None = None  # best quality within this latency of one clip
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    input: str | None = None
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    shape: Mapping[str, Any] = component("shape")
    output: str | None = None
    aligned: bool = True
    seed: int = 0

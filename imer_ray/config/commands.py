"""What each command can be told; the experiment that it is about is in `imer_ray.config.experiment`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imer_ray.config.components import Component
from imer_ray.config.experiment import STAGE_KINDS, ExperimentConfig, LoopConfig, component
from imer_ray.config.typed_text import FilePath

MIN_SILENCE_SECONDS = 10.0
SEEDS = (1111, 1112, 1113, 1114, 1115)


def overrides() -> Any:
    """Changes to what a file says, ``{dotted path: value}``: other data, where they lie here, other settings."""
    return field(default_factory=dict, metadata={"overrides": True})


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """Which hardware a stage takes, and which stages run on Ray Train worker groups."""

    # of a worker group: at most so many, fewer where there is no room for them; [2, 8]: never fewer than two, which are
    # waited for, and at most eight; 0: no groups
    num_workers: int | tuple[int, ...] = 2
    # kinds of stages that run as a worker group of Ray Train; auto: a training begins as a task, and goes on in a group
    # once its epochs show that what is left of them is worth the group's start
    train_stages: tuple[str, ...] = field(default=("auto",), metadata={"choices": ("auto", *STAGE_KINDS)})
    cpus_per_stage: float = 1  # that a stage, or each worker of a group, holds
    gpus_per_stage: float = 0  # a share of one, or whole ones
    max_failures: int = 2  # how often a stage is tried again whose worker or node died, since it last did an epoch more
    store_seconds: float = 600.0  # for so long a store of stages that fails is waited for, before the search ends
    silence_seconds: float = 300.0  # without a sign of life or of work, after which a stage is ended and tried again
    address: str | None = None  # None: start a local Ray, or join the cluster that RAY_ADDRESS names
    # of a node, or of each type of node as {head: 0.4, worker_l4: 0.98}: names of the cluster's node types, or local
    dollars_per_hour: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.silence_seconds >= MIN_SILENCE_SECONDS:
            least = f"at least {MIN_SILENCE_SECONDS:g}, or busy machines' stages would be ended"
            raise ValueError(f"scaling.silence_seconds must be {least}, not {self.silence_seconds:g}")
        if not self.store_seconds >= 0:
            raise ValueError(f"scaling.store_seconds must not be negative, not {self.store_seconds:g}")
        bounds = self.num_workers if isinstance(self.num_workers, tuple) else (self.num_workers,)
        if not 1 <= len(bounds) <= 2 or list(bounds) != sorted(bounds):
            raise ValueError(f"scaling.num_workers must be a number or [fewest, most], not {list(bounds)}")
        if bounds[0] < 0 or self.max_failures < 0:
            raise ValueError("scaling.num_workers and scaling.max_failures must not be negative")
        cpus, gpus = self.cpus_per_stage, self.gpus_per_stage
        if not 0 < cpus < float("inf"):
            raise ValueError(f"scaling.cpus_per_stage must be greater than 0, not {cpus:g}")
        if not 0 <= gpus < float("inf") or (gpus > 1 and gpus % 1):
            raise ValueError(f"scaling.gpus_per_stage must be a whole number or a share of one GPU, not {gpus:g}")
        prices = self.dollars_per_hour
        for price in prices.values() if isinstance(prices, Mapping) else [prices]:
            if price is not None and not price >= 0:
                raise ValueError(f"scaling.dollars_per_hour must not be negative, but is {price:g}")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    name: str = "demo"  # of the study, and of its folder
    num_trials: int = 24  # in all: a larger number continues the study
    root: FilePath = "runs"  # where studies' folders are
    stages: FilePath | None = None  # artefacts shared by all studies; None: <root>/stages
    seed: int = 1111  # of the searcher
    searcher: str = field(default="ehvi", metadata={"package": "imer_ray.tuning.searchers"})  # who proposes trials
    num_startup_trials: int = 8  # drawn before the searcher models them: evenly by ehvi, at random by others
    quality: str = "Non0_F1_score"  # metric of the first objective, or of one setting: la.Non0_F1_score, or worst.MAE
    # the second objective: time of a batch or of one clip beside IMDer's, operations, or network evaluations
    speed: str = field(default="latency", metadata={"choices": ("latency", "latency_b1", "flops", "nfe")})
    # further objectives: num_parameters, another cost, CRPS or another metric, worst or AUILC of the quality's metric
    also: tuple[str, ...] = ()
    slots: int = 4  # trials in flight; a trial that waits holds no CPU
    retry_failed: bool = False  # run failed trials again, but for those whose numbers were not finite
    repeats: int = 0  # further seeds that a point of the front is run with, at most, when the trials are done
    # further sets of as many training clips that the picks are compared on, at most, when the trials are done
    folds: int = 5
    max_seconds: float | None = None  # of this command
    max_gpu_hours: float | None = None  # of the study, all commands together: what stages took, times their GPUs
    max_cost: float | None = None  # dollars, of the study, all commands together; needs scaling.dollars_per_hour
    constraints: tuple[str, ...] = ()  # what a point must keep to be on the front: "latency_ms_b1 <= 5"
    presets: tuple[str, ...] = ()  # published systems proposed first, as near as the space allows
    warm_start: tuple[FilePath, ...] = ()  # other studies' folders or results.parquet, learnt from at the beginning
    # candidates whose cost is measured before one of them is trained; constraints on costs are kept then. 0: none
    cost_first: int = 0
    prefix_trials: int = 3  # proposals in a row that share all a pretraining depends on; 1: each is free to differ
    # who decides which trials are stopped early; fifo: none
    scheduler: str = field(default="fifo", metadata={"package": "imer_ray.tuning.schedulers"})
    grace_epochs: int = 3  # of a training stage, before asha first compares it
    reduction_factor: float = 3.0  # of those that asha compares, one in so many goes on; epochs to the next time
    brackets: int = 1  # of asha; trials of bracket s are first compared at its rung s
    # where the search is written down besides results.parquet
    loggers: tuple[str, ...] = field(default=("tensorboard",), metadata={"package": "imer_ray.tuning.loggers"})

    def __post_init__(self) -> None:
        if self.num_trials < 1 or self.slots < 1 or self.num_startup_trials < 1:
            raise ValueError("study.num_trials, study.slots and study.num_startup_trials must be at least 1")
        if self.prefix_trials < 1:
            raise ValueError(f"study.prefix_trials must be at least 1, not {self.prefix_trials}")
        if self.grace_epochs < 1 or self.brackets < 1:
            raise ValueError("study.grace_epochs and study.brackets must be at least 1")
        if not 1 < self.reduction_factor < float("inf"):
            raise ValueError(f"study.reduction_factor must be greater than 1, not {self.reduction_factor}")
        for name in ("repeats", "folds", "cost_first"):
            if (count := getattr(self, name)) < 0:
                raise ValueError(f"study.{name} must not be negative, but is {count}")
        for name in ("max_seconds", "max_gpu_hours", "max_cost"):
            if (limit := getattr(self, name)) is not None and not limit > 0:
                raise ValueError(f"study.{name} must be greater than 0, not {limit:g}")
        if not self.name or any(part in ("", ".", "..") for part in self.name.split("/")):
            raise ValueError(f"study.name must be a plain folder name, not {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(ExperimentConfig):
    study: StudyConfig = field(default_factory=StudyConfig)
    space: FilePath = "default"  # a name in search_spaces/ or a path to a YAML file
    scaling: ScalingConfig = field(default_factory=ScalingConfig)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    config: FilePath = "runs/demo/export/quality.yaml"  # or the name of a preset
    seeds: tuple[int, ...] = SEEDS  # a model is trained with each
    # systems that are trained beside it, on the same data and settings
    baselines: tuple[str, ...] = field(default=("zero", "masked"), metadata={"package": "imer_ray.systems"})
    output: FilePath | None = None  # None: models/<name of the configuration file>
    plugins: tuple[str, ...] = ()  # packages of other laboratories whose components may be chosen
    stages: FilePath = "runs/stages"  # where artefacts are kept
    data: Mapping[str, Any] = overrides()  # other data than the configuration names: data=store data.path=data/mosi
    settings: Mapping[str, Any] = overrides()  # changes to what the configuration says: settings.seed=7
    scaling: ScalingConfig = field(default_factory=ScalingConfig)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds is empty: name at least one, for example seeds=[1111,1112]")
        if twice := sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1}):
            raise ValueError(f"seeds names {', '.join(map(str, twice))} more than once")


@dataclass(frozen=True, kw_only=True)
class EvaluateCommandConfig:
    model: tuple[FilePath, ...] = ("models/quality",)  # several are laid side by side
    protocol: Component = component("protocol")  # which modalities are taken away
    against: str | None = None  # system that the others are tested against; None: masked, if it is there
    published: bool = False  # lay published numbers beside, where the data are MMSA's files of CMU-MOSI or MOSEI
    plugins: tuple[str, ...] = ()  # packages of other laboratories whose components may be chosen
    data: Mapping[str, Any] = overrides()  # other data than those of the training
    output: FilePath | None = None  # None: the model's folder; of several models, one beside theirs
    device: str = "cpu"  # where is predicted and time is measured: cpu, or a GPU as cuda:0

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model must name the folder of at least one trained model")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    model: FilePath = "models/quality"  # of all seeds or of one
    input: FilePath | None = None  # the file with the clips
    output: FilePath | None = None  # None: <name of the input>.predictions.parquet, beside it
    available: str | None = None  # letters of the modalities that are read, as lv; None: all that a clip has
    runtime: str = field(default="auto", metadata={"choices": ("auto", "eager", "onnx")})  # auto: the fastest there is
    batch_size: int = 256  # clips that are held and predicted at once
    # of a clip's own files: which features the model was trained on, where it does not say, as extractors.a=librosa
    extractors: Mapping[str, Any] = overrides()
    plugins: tuple[str, ...] = ()  # packages of other laboratories whose components the model is made of

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    run: FilePath = "runs/demo"  # the study's folder
    pick: str | None = None  # quality, speed, knee or a trial's number
    max_latency_ms: float | None = None  # best quality within this latency of one clip
    output: FilePath | None = None  # None: export/<pick>.yaml in the study's folder
    model: FilePath | None = None  # a trained model's folder, whose graphs are written into it instead
    # of the graphs: for ONNX Runtime, with a client, or for torch.export.load
    format: str = field(default="onnx", metadata={"choices": ("onnx", "torch")})


@dataclass(frozen=True, kw_only=True)
class ServeScaling:
    """On which hardware a model is served."""

    num_replicas: int = 2  # processes that each hold the model
    cpus_per_replica: float = 0.5  # that a replica holds; it works in one thread
    address: str | None = None  # None: start a local Ray, or join the cluster that RAY_ADDRESS names

    def __post_init__(self) -> None:
        if self.num_replicas < 1:
            raise ValueError(f"scaling.num_replicas must be at least 1, not {self.num_replicas}")
        if not 0 < self.cpus_per_replica < float("inf"):
            raise ValueError(f"scaling.cpus_per_replica must be greater than 0, not {self.cpus_per_replica:g}")


@dataclass(frozen=True, kw_only=True)
class ServeLimits:
    """What a server takes at once."""

    max_bytes: int = 8 * 2**20  # of a request's body
    max_clips: int = 64  # of a request
    max_frames: int = 2**14  # of a request, over its clips and modalities; of a clip the model reads the last
    max_batch: int = 32  # requests that are predicted together
    max_waiting: int = 1024  # requests that wait to be worked on; more are told to come again (429)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"limits.{name} must be at least 1, not {value}")


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    model: FilePath = "models/quality"  # a trained model: all its seeds, or one as models/quality/1111
    host: str = "127.0.0.1"  # address of this machine; 0.0.0.0 lets other machines in, without authentication
    port: int = 8000  # 0: any that is free
    runtime: str = field(default="auto", metadata={"choices": ("auto", "eager", "onnx")})  # what predictions run in
    scaling: ServeScaling = field(default_factory=ServeScaling)
    limits: ServeLimits = field(default_factory=ServeLimits)

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"port must be 0 to 65535, not {self.port}")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    input: FilePath | None = None  # the pickle
    output: FilePath | None = None  # a folder that is made
    # which features these are, where it is known: an extractor, as features.a=librosa_sims, or a name of their own
    features: Mapping[str, Any] = overrides()


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    input: FilePath | None = None  # the table with the transcripts
    output: FilePath | None = None  # the table that is written
    split: str = field(default="speaker", metadata={"choices": ("speaker", "official")})  # whose training clips teach
    num_folds: int = 4  # of the training videos: each is read by what was fine-tuned on the others
    num_layers: int = 4  # of the sentence encoder's six; the fourth tells sentiment best
    training: LoopConfig = field(default_factory=LoopConfig)
    seed: int = SEEDS[0]  # of weights and batches
    stages: FilePath = "runs/stages"  # where artefacts are kept
    device: str = "cpu"  # where it is fine-tuned: cpu, or a GPU as cuda:0

    def __post_init__(self) -> None:
        if self.num_folds < 2:
            raise ValueError(f"num_folds must be at least 2, not {self.num_folds}")
        if not 1 <= self.num_layers <= 6:
            raise ValueError(f"num_layers must be 1 to 6, not {self.num_layers}")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    shape: Component = component("shape")  # whose clips, lengths and widths they have
    output: FilePath | None = None  # the pickle that is written
    plugins: tuple[str, ...] = ()  # packages of other laboratories whose components may be chosen
    aligned: bool = True  # one length for all modalities
    seed: int = 0  # of the clips


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    root: FilePath = "runs/stages"  # folder or URI of the artefacts
    runs: FilePath | None = "runs"  # where the studies are whose fronts are kept; null: keep none for a front's sake
    sort: str = field(default="value", metadata={"choices": ("value", "size", "age", "cost", "used")})  # of ls
    max_bytes: float = 20e9  # that gc leaves
    max_age_days: float = 30  # since the last use
    dry_run: bool = True  # gc says what it would remove, and removes nothing

    def __post_init__(self) -> None:
        if not self.max_bytes >= 0 or not self.max_age_days >= 0:
            raise ValueError("max_bytes and max_age_days must not be negative")

"""What each kind of stage reads, once for the graphs that declare it and the tasks that are given it.

The optional fields of a slice are those that only some systems' stages of its kind read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imer_ray.config.components import Component
from imer_ray.config.experiment import LoopConfig, SpeedConfig
from imer_ray.config.slice import Slice, at, unless_none


@dataclass(frozen=True, kw_only=True)
class StageSlice(Slice):
    """What every stage on a data set depends on.

    ``version`` is raised by hand when a kind's meaning changes, so that old artefacts are not taken for new ones.
    """

    version: ClassVar[int] = 1
    seed: int
    data: Component
    data_fingerprint: str | None
    validation_fold: int


@dataclass(frozen=True, kw_only=True)
class DiffusionProcess(Slice):
    sde: Component
    parametrization: str
    sigma_data: float
    backbone: Component
    prior: Component | None = unless_none()


@dataclass(frozen=True, kw_only=True)
class LearntDiffusion(DiffusionProcess):
    """One network's, in training."""

    condition_dropout: float


@dataclass(frozen=True, kw_only=True)
class TrainedDiffusion(LearntDiffusion):
    """One network's, where it learns from clips."""

    weighting: Component
    time_sampling: Component


@dataclass(frozen=True, kw_only=True)
class RecoveringDiffusion(DiffusionProcess):
    """All networks', where missing modalities are drawn from them."""

    sharing: str
    guidance: float


@dataclass(frozen=True, kw_only=True)
class JointDiffusion(RecoveringDiffusion):
    """Where the networks recover while they learn."""

    weighting: Component
    time_sampling: Component
    condition_dropout: float
    sampler: Component
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class SampledDiffusion(RecoveringDiffusion):
    """Where predictions are made of what is recovered."""

    sampler: Component
    num_steps: int
    num_draws: int


@dataclass(frozen=True, kw_only=True)
class TimedDiffusion(Slice):
    """What the work of recovering depends on."""

    backbone: Component
    sharing: str
    sampler: Component
    num_steps: int
    num_draws: int
    guided: bool
    prior: Component | None = unless_none()


@dataclass(frozen=True, kw_only=True)
class Encode(StageSlice):
    version = 4
    encoder: Component
    fusion: Component
    modality_dropout: float = at("training.modality_dropout")
    loop: LoopConfig = at("training.encode")


@dataclass(frozen=True, kw_only=True)
class Fold(Slice):
    """One of ``count`` parts of the training clips, which is left out."""

    number: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Prior(StageSlice):
    version = 3
    prior: Component = at("diffusion.prior")
    fold: Fold | None = None


@dataclass(frozen=True, kw_only=True)
class Pretrain(StageSlice):
    version = 2
    modality: str  # l, a, v or, of a network for all of them, shared
    encoder: Component
    diffusion: TrainedDiffusion
    loop: LoopConfig = at("training.pretrain")
    fold: Fold | None = None


@dataclass(frozen=True, kw_only=True)
class Recover(Pretrain):
    refiner: Component
    lambda_g: float = at("loss.lambda_g")


@dataclass(frozen=True, kw_only=True)
class Distillation(Slice):
    method: str
    num_steps: int
    num_draws: int | None = None  # of reflow
    target_decay: float | None = None  # of consistency


@dataclass(frozen=True, kw_only=True)
class Distill(StageSlice):
    version = 2
    modality: str
    encoder: Component
    diffusion: LearntDiffusion
    distill: Distillation
    loop: LoopConfig = at("training.distill")


@dataclass(frozen=True, kw_only=True)
class Impute(StageSlice):
    encoder: Component
    imputer: Component
    loop: LoopConfig | None = at("training.impute", default=None)  # of what is trained by gradient


@dataclass(frozen=True, kw_only=True)
class Draws(Slice):
    """How a bank is drawn; an imputer needs no sampler."""

    num_draws: int
    sampler: Component | None = None
    num_steps: int | None = None
    folds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Bank(StageSlice):
    encoder: Component
    bank: Draws
    diffusion: RecoveringDiffusion | None = None
    imputer: Component | None = None


@dataclass(frozen=True, kw_only=True)
class Recognise(StageSlice):
    version = 2
    encoder: Component
    fusion: Component
    loop: LoopConfig = at("training.recognise")
    refiner: Component | None = None
    recovery: float | None = at("loss.recovery", default=None)
    distillation: float | None = at("loss.distillation", default=None)
    ranking: float | None = at("loss.ranking", default=None)
    protocol: Component | None = None  # of missing frames, where recognisers learn under it


@dataclass(frozen=True, kw_only=True)
class Fuse(StageSlice):
    version = 3
    encoder: Component
    fusion: Component
    refiner: Component
    lambda_al: float = at("loss.lambda_al")
    loop: LoopConfig = at("training.fuse")


@dataclass(frozen=True, kw_only=True)
class Classify(StageSlice):
    version = 3
    encoder: Component
    fusion: Component
    refiner: Component
    lambda_c: float = at("loss.lambda_c")
    loop: LoopConfig = at("training.classify")
    protocol: Component | None = None  # of missing frames, where recognisers learn under it


@dataclass(frozen=True, kw_only=True)
class Joint(StageSlice):
    version = 2
    encoder: Component
    fusion: Component
    refiner: Component
    diffusion: JointDiffusion
    weight: float = at("loss.diffusion")
    loop: LoopConfig = at("training.joint")
    protocol: Component | None = None  # of missing frames, where recognisers learn under it


@dataclass(frozen=True, kw_only=True)
class MixtureSizes(Slice):
    """All are fitted, and validation clips choose."""

    ranks: tuple[int, ...]
    num_components: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Mixture(StageSlice):
    mixture: MixtureSizes
    encoder: Component | None = None  # with a protocol alone
    protocol: Component | None = None  # of missing frames, where it is told of single frames


@dataclass(frozen=True, kw_only=True)
class Evaluate(StageSlice):
    version = 5
    split: str
    encoder: Component
    fusion: Component
    protocol: Component
    precision: str
    compile: str
    refiner: Component | None = None
    diffusion: SampledDiffusion | None = None
    imputer: Component | None = None


@dataclass(frozen=True, kw_only=True)
class Cost(StageSlice):
    """Of what time depends on: shapes and the sampler's work, nothing that is trained."""

    version = 6
    split: str
    encoder: Component
    fusion: Component
    precision: str
    compile: str
    speed: SpeedConfig
    reconstructor: bool  # whether there is one of fused features
    refiner: Component | None = None
    diffusion: TimedDiffusion | None = None
    imputer: Component | None = None
    machine: str | None = None  # on which it is measured, see `imer_ray.systems.graph`


@dataclass(frozen=True, kw_only=True)
class Finetune(Slice):
    """Of a table's transcripts; no experiment is made of it."""

    seed: int
    split: str
    num_folds: int
    num_layers: int
    fold: int
    data_path: str
    loop: LoopConfig = at("training.finetune")

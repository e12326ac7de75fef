"""What can be configured: frozen dataclasses hold every default and its range.

A *component* (SDE, sampler, backbone, data set, ...) is a class of its own elsewhere; `component` says from which
group of ``conf/`` it is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from imer_ray.config.components import Component

# What a prediction may take at most, whoever wrote the configuration: a number of steps must not run for ever.
MAX_STEPS = 2000  # of a sampler: the most that score-based models were published with (Song et al., 2021)
MAX_DRAWS = 100  # all draws of a batch are in memory at once
MAX_FOLDS = 20  # each is a pretraining of its own
MAX_SPEED = {"batch_size": 4096, "num_threads": 1024, "reference_steps": 100, "max_repeats": 10_000, "max_seconds": 600}


PRECISIONS = ("fp32", "bf16")
LATER = "later"  # marks a setting that came when there were results: at its default no key and no study knows of it
RUNTIMES = ("eager", "onnx")

STAGE_KINDS = (  # of all systems; what stands before a bracket in a stage's name
    *("encode", "prior", "pretrain", "recover", "distill", "impute", "mixture", "bank"),
    *("recognise", "fuse", "classify", "joint", "cost", "evaluate"),
)


def component(group: str) -> Any:
    """A field whose value is one option of ``conf/<group>/``; which one by default, the YAML's defaults list says."""
    return field(metadata={"group": group})


def check_at_most(**given: tuple[float, float]) -> None:
    """Refuse settings above a bound, ``name=(value, bound)``.

    Raises:
        ValueError: naming the setting.
    """
    for name, (value, bound) in given.items():
        if not value <= bound:
            raise ValueError(f"{name} must be at most {bound:,}, not {value:,}")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How one training stage runs (AdamW with cosine decay, exponential moving average of the weights)."""

    num_epochs: int = 12  # at most, through the training clips
    batch_size: int = 128  # clips of a step
    learning_rate: float = 3e-3  # at its highest
    weight_decay: float = 1e-2  # AdamW's
    clip_norm: float = 1.0  # of the gradient, above which it is scaled down
    ema_decay: float = 0.99  # of the weights' moving average, which is what is kept; 0: no average
    patience: int = 0  # epochs without a better validation loss before stopping at the best; 0: train to the end
    # of what the steps compute, by autocast; weights, optimiser, average and validation are fp32 with either
    precision: str = field(default="fp32", metadata={"choices": PRECISIONS, LATER: True})

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), not {self.ema_decay}")
        if self.weight_decay < 0 or self.patience < 0:
            raise ValueError("weight_decay and patience must not be negative")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    modality_dropout: float = (
        0.0  # share of the clips that encode sees under a random missing pattern; 0: complete data
    )
    encode: LoopConfig = field(default_factory=LoopConfig)
    pretrain: LoopConfig = field(default_factory=LoopConfig)
    distill: LoopConfig = field(default_factory=LoopConfig)
    impute: LoopConfig = field(default_factory=LoopConfig)  # of the systems autoencoder and flow_transfer
    recognise: LoopConfig = field(default_factory=LoopConfig)
    fuse: LoopConfig = field(default_factory=LoopConfig)
    classify: LoopConfig = field(default_factory=LoopConfig)
    joint: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.modality_dropout <= 1:
            raise ValueError(f"modality_dropout must be in [0, 1], not {self.modality_dropout}")


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    sde: Component = component("diffusion/sde")  # the process that turns data into noise
    # what the network predicts
    parametrization: str = field(default="v", metadata={"choices": ("eps", "x0", "v", "score", "velocity", "edm")})
    sigma_data: float = 1.0  # standard deviation of the latents; they are standardised
    weighting: Component = component("diffusion/weighting")  # how much an error at each time counts
    time_sampling: Component = component("diffusion/time_sampling")  # which times are trained on
    prior: Component = component("diffusion/prior")  # closed form of the latents that the network stands on
    backbone: Component = component("diffusion/backbone")  # the network
    sharing: str = field(default="per_modality", metadata={"choices": ("per_modality", "shared")})  # of the network
    condition_dropout: float = 0.0  # share of the training clips that see no condition
    sampler: Component = component("diffusion/sampler")  # how noise is turned into data, at inference
    num_steps: int = 4  # of the sampler
    num_draws: int = 1  # recoveries of a clip at inference, whose predictions are averaged
    guidance: float = 1.0  # weight of classifier-free guidance at inference; 1: none

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        check_at_most(num_steps=(self.num_steps, MAX_STEPS), num_draws=(self.num_draws, MAX_DRAWS))
        if not 0 <= self.condition_dropout < 1:
            raise ValueError(f"condition_dropout must be in [0, 1), not {self.condition_dropout}")
        if not 0 <= self.guidance < float("inf"):
            raise ValueError(f"guidance must be 0 or positive, not {self.guidance}")
        if self.guidance != 1 and self.condition_dropout == 0:
            raise ValueError(
                f"guidance={self.guidance:g} needs a network that was also trained without its condition: "
                "set condition_dropout, for example to 0.1, or leave guidance at 1"
            )
        if not 0 < self.sigma_data < float("inf"):
            raise ValueError(f"sigma_data must be positive, not {self.sigma_data}")


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Turning each pretrained diffusion into one that needs one to four evaluations (`imer_ray.tasks.distill`)."""

    method: str = field(default="none", metadata={"choices": ("none", "reflow", "consistency")})  # none: no stage
    num_steps: int = 16  # Heun steps from noise to data with which the teacher is followed
    num_draws: int = 4  # reflow: noises per training clip whose ends are worked out in advance
    target_decay: float = 0.95  # consistency: of the average of the student's weights that gives its targets

    def __post_init__(self) -> None:
        if self.num_steps < 2 or self.num_draws < 1:
            raise ValueError("distill.num_steps must be at least 2 and distill.num_draws at least 1")
        check_at_most(num_steps=(self.num_steps, MAX_STEPS), num_draws=(self.num_draws, MAX_DRAWS))
        if not 0 <= self.target_decay < 1:
            raise ValueError(f"target_decay must be in [0, 1), not {self.target_decay}")


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """Recovered latents of every training clip and missing pattern, drawn once from the frozen diffusion."""

    # reference: one accurate sampler for all trials; same: the trial's own
    mode: str = field(default="reference", metadata={"choices": ("reference", "same")})
    sampler: Component = component("diffusion/sampler")  # of the reference
    num_steps: int = 4  # of the reference
    num_draws: int = 1  # recoveries of each clip and pattern
    folds: int = 1  # of the training clips, each drawn by networks that the others trained; 1: all trained all

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_draws < 1:
            raise ValueError("bank.num_steps and bank.num_draws must be at least 1")
        if self.folds < 1:
            raise ValueError(f"bank.folds must be at least 1, not {self.folds}")
        check_at_most(num_steps=(self.num_steps, MAX_STEPS), num_draws=(self.num_draws, MAX_DRAWS))
        check_at_most(folds=(self.folds, MAX_FOLDS))


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the auxiliary losses beside the task loss."""

    recovery: float = 0.1  # refiner MSE in the recogniser
    diffusion: float = 0.1  # IMDer's weight of score and reconstruction losses in joint training
    # Of the recogniser under missing patterns; 0: no such loss. See `imer_ray.training.losses`.
    distillation: float = 0.0  # of its distance from what encode's recogniser says of the complete clip
    ranking: float = 0.0  # of how much worse it reads a clip with more modalities than with fewer
    # RoHyDR's, as its authors use them for CMU-MOSI:
    lambda_g: float = (
        1.0  # of the refiner's MSE against the diffusion loss, in (L_diff + lambda_g L_rec)/(1 + lambda_g)
    )
    lambda_al: float = 0.5  # of the adversarial loss against the reconstruction of complete-data features
    lambda_c: float = 0.4  # of the incomplete branch's task loss against the complete one's

    def __post_init__(self) -> None:
        for name in ("recovery", "diffusion", "distillation", "ranking", "lambda_g"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"loss weights must not be negative or infinite: {name} is {getattr(self, name)}")
        for name in ("lambda_al", "lambda_c"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How cost is measured beside the IMDer reference (`imer_ray.evaluation.timing.speedup`)."""

    # what computes, on both sides: eager (PyTorch), or onnx (ONNX Runtime, which takes seconds to make a graph)
    runtime: str = field(default="eager", metadata={"choices": RUNTIMES})
    batch_size: int = 32  # clips of a batch, beside which one clip alone is timed as well
    num_threads: int = 1  # on a CPU
    reference_steps: int = 1  # of the reference's 100 equal steps, timed and scaled up; benchmarks time all 100
    tolerance: float = 0.1  # width of the speedup's 95 % interval, as a share of it, at which measuring ends
    max_repeats: int = 40  # of timing both in turn
    max_seconds: float = 0.3  # of computing, after which no further repeat begins unless the readings disagree

    def __post_init__(self) -> None:
        if min(self.batch_size, self.max_repeats, self.num_threads, self.reference_steps) < 1:
            raise ValueError("batch_size, num_threads, reference_steps and max_repeats must be at least 1")
        if not 0 < self.tolerance < float("inf") or self.max_seconds < 0:
            raise ValueError("tolerance must be positive, and max_seconds not negative")
        check_at_most(**{name: (getattr(self, name), bound) for name, bound in MAX_SPEED.items()})


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Along each axis, the values at which a trained recogniser may be scored as well; its own is always among them.

    None: those that the search space lists, and of a range, or of steps that are not searched, the powers of two. An
    empty list: only its own.
    """

    num_steps: tuple[int, ...] | None = None  # of diffusion.num_steps
    num_draws: tuple[int, ...] | None = None  # of diffusion.num_draws
    sampler: tuple[str, ...] | None = None  # of diffusion.sampler
    guidance: tuple[float, ...] | None = None  # where the networks were trained with condition_dropout
    precision: tuple[str, ...] | None = None  # of precision

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_draws"):
            if min(getattr(self, name) or (1,)) < 1:
                raise ValueError(f"{name} must be at least 1, not {list(getattr(self, name))}")
        steps, draws = (max(values or (1,)) for values in (self.num_steps, self.num_draws))
        check_at_most(num_steps=(steps, MAX_STEPS), num_draws=(draws, MAX_DRAWS))
        if not all(0 <= weight < float("inf") for weight in self.guidance or ()):
            raise ValueError(f"guidance must be 0 or positive, not {list(self.guidance or ())}")
        if unknown := set(self.precision or ()) - set(PRECISIONS):
            raise ValueError(
                f"precision: {', '.join(sorted(unknown))} is unknown; choose among {', '.join(PRECISIONS)}"
            )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which further points a trained recogniser is scored at: those that a walk over the grid reaches
    (`imer_ray.tuning.trial.local_search`)."""

    max_points: int = 3  # of one recogniser, the trial's own among them; 1: no others
    tolerance: float = 0.005  # the walk takes smaller differences in quality (as it is minimised) for noise
    grid: GridConfig = field(default_factory=GridConfig)

    def __post_init__(self) -> None:
        if self.max_points < 1:
            raise ValueError(f"max_points must be at least 1, not {self.max_points}")
        if not 0 <= self.tolerance < float("inf"):
            raise ValueError(f"tolerance must be 0 or positive, not {self.tolerance}")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One configuration of one system on one data set: everything a stage graph is built from."""

    seed: int = 1111  # of weights, batches, masks and noise
    plugins: tuple[str, ...] = ()  # packages of other laboratories that it needs (`imer_ray.config.plugins`)
    system: str = field(default="decoupled", metadata={"package": "imer_ray.systems"})  # which stages, in which order
    data: Component = component("data")  # the clips
    data_fingerprint: str | None = None  # of the data's content; filled in when a command starts, checked ever after
    # which clips are for validation: 0: the data's own; k: the k-th run of as many training clips, in exchange for them
    validation_fold: int = 0
    protocol: Component = component("protocol")  # which modalities are taken away when it is scored
    encoder: Component = component("encoder")  # features to latents, the space that diffusion works in
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    bank: BankConfig = field(default_factory=BankConfig)
    refiner: Component = component("refiner")  # mends recovered latents
    fusion: Component = component("fusion")  # latents of all modalities to a prediction
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    precision: str = field(default="fp32", metadata={"choices": PRECISIONS})  # of numbers, at inference
    compile: str = field(  # of networks and recogniser at inference, with a mode of torch.compile
        default="none", metadata={"choices": ("none", "default", "reduce-overhead", "max-autotune-no-cudagraphs")}
    )
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def data_paths(self) -> list[str]:
        """The files and folders that its data set is read from."""
        path = self.data.settings.get("path")
        return [] if path is None else [str(path)]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ExperimentConfig):
    """What a trained model was made with: its experiment and, where its system chose one, an imputer."""

    imputer: Component | None = None

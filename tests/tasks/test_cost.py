"""What the cost of a prediction depends on, and when measuring it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from experiments import changed, experiment, of_model
from torch.utils._python_dispatch import TorchDispatchMode

from imer_ray.config.components import build, option, options
from imer_ray.config.experiment import ExperimentConfig, SpeedConfig
from imer_ray.config.slices import Cost
from imer_ray.data.batch import Batch
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.errors import UserError
from imer_ray.evaluation.cost import measure, parts_of
from imer_ray.evaluation.predict import Inference, predictor
from imer_ray.evaluation.timing.reference_work import eager_reference
from imer_ray.evaluation.timing.robust_median import MIN_READINGS
from imer_ray.evaluation.timing.speedup import cost, reference_for
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import build_recovery
from imer_ray.systems import decoupled, imder, masked, rohydr, zero
from imer_ray.training.latents import load_dataset
from imer_ray.training.seeding import seeded

PROCESSES = [
    *(option("diffusion/sde", name) for name in options("diffusion/sde")),
    *({**option("diffusion/sde", "vp"), "schedule": schedule} for schedule in ("linear", "shifted_cosine")),
]


class Operations(TorchDispatchMode):
    """Every tensor operation with the shape of its result, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        self.seen.append((str(function), getattr(out, "shape", None)))
        return out


def operations(sampler: Any, process: dict[str, Any], parametrization: str) -> tuple[list[Any], int]:
    """Operations and network calls of the second of two samples; the first works out what is remembered."""
    sde, weight = build(process), torch.eye(4)

    def sample() -> int:
        generator = torch.Generator().manual_seed(0)
        denoiser = Denoiser(lambda x, t: x @ weight, sde, parametrization)
        sampler.sample(denoiser, sde, torch.randn(3, 8, 4, generator=generator) * sde.prior_std, 4, generator)
        return denoiser.num_evaluations

    sample()
    with Operations() as log:
        return log.seen, sample()


@pytest.mark.parametrize("name", options("diffusion/sampler"))
def test_a_sampler_does_the_same_work_for_every_process_and_parametrization(name: str) -> None:
    """So cost's slice has neither. Stochastic Heun alone adds noise where the process allows it: three products."""
    sampler = build({**option("diffusion/sampler", name), **({"eta": 1.0} if name == "ddim" else {})})
    expected, calls = operations(sampler, PROCESSES[0], "v")
    others = [(process, "v") for process in PROCESSES] + [(PROCESSES[0], name) for name in PARAMETRIZATIONS]
    for process, parametrization in others:
        found, num_calls = operations(sampler, process, parametrization)
        assert num_calls == calls
        if name == "stochastic_heun":
            more, fewer = (sum((Counter(a) - Counter(b)).values()) for a, b in ((found, expected), (expected, found)))
            assert more + fewer <= 3 * (4 - 1)
        else:
            assert found == expected


SMALL = ["data.num_train=8", "data.num_valid=8", "data.num_test=8", "diffusion.condition_dropout=0.1"]


@pytest.fixture(scope="module")
def config() -> ExperimentConfig:
    return experiment(*SMALL)


def keys(config: ExperimentConfig, *systems: Any, split: str = "valid", **changes: Any) -> set[str]:
    other = changed(config, {k.replace("__", "."): v for k, v in changes.items()})
    return {system.graph(other, split).inputs["cost"].key for system in systems}


def test_what_is_the_same_work_is_measured_once(config: ExperimentConfig) -> None:
    """Schedules, loss weights, training and distillation; and a system that trains the same networks otherwise."""
    own = keys(config, decoupled)
    for changes in (
        {"diffusion__sde__schedule": "linear"},
        {"diffusion__sde": "imder_ve"},
        {"diffusion__parametrization": "eps"},
        {"diffusion__weighting": "min_snr"},
        {"diffusion__condition_dropout": 0.3},
        {"loss__recovery": 7.0},
        {"training__pretrain__num_epochs": 99},
        {"training__encode__learning_rate": 0.1},
        {"distill__method": "reflow"},
        {"bank__mode": "same"},
    ):
        assert keys(config, decoupled, imder, **changes) == own, changes
    assert keys(config, rohydr) != own  # its reconstructor
    assert keys(config, zero) == keys(config, masked)  # no recovery, no refiners
    guided = keys(config, decoupled, diffusion__guidance=2.0)
    assert guided == keys(config, decoupled, diffusion__guidance=3.0) != own


@pytest.mark.parametrize(
    "changes",
    [
        {"diffusion__sampler": "heun"},
        {"diffusion__sampler__eta": 1.0},
        {"diffusion__num_steps": 3},
        {"diffusion__num_draws": 2},
        {"diffusion__backbone": "mixer"},
        {"diffusion__sharing": "shared"},
        {"precision": "bf16"},
        {"compile": "default"},
        {"refiner__num_blocks": 5},
        {"speed__batch_size": 8},
        {"speed__runtime": "onnx"},
        {"split": "test"},  # a final training measures for itself
    ],
)
def test_what_is_other_work_is_measured_again(config: ExperimentConfig, changes: dict[str, Any]) -> None:
    assert keys(config, decoupled, **changes) != keys(config, decoupled)


def test_the_process_that_stands_for_all_keeps_what_makes_work(config: ExperimentConfig) -> None:
    other = changed(config, {"diffusion.guidance": 3.0, "diffusion.num_steps": 3})
    for given, guides in ((config, False), (other, True)):
        read = Cost.read(decoupled.graph(given, "valid").inputs["cost"].settings)
        assert (parts_of(read).diffusion.guidance != 1) == guides
        own, timed = Inference.of(given, given.diffusion), Inference.of(read, read.diffusion)
        assert own == timed and own.num_evaluations == timed.num_evaluations > 0


DIMS, NUM_FRAMES = {"l": 5, "a": 3, "v": 4}, 8


def clips(size: int) -> Batch:
    g = seeded(size, "clips")
    return Batch(
        features={m: torch.randn(size, NUM_FRAMES, d, generator=g) for m, d in DIMS.items()},
        frames={m: torch.ones(size, NUM_FRAMES, dtype=torch.bool) for m in DIMS},
        recorded=torch.ones(size, 3, dtype=torch.bool),
        labels=torch.zeros(size),
        index=torch.arange(size),
    )


def measured(disturb: Callable[[Batch], None] = lambda batch: None, **speed: float) -> dict[str, float]:
    """Cost of a small model at batch sizes 2 and 1, each of whose predictions ``disturb`` may slow down."""
    config = experiment(*SMALL, "diffusion.num_steps=1")
    parts, lengths = Parts.of(of_model(config)), dict.fromkeys(DIMS, NUM_FRAMES)
    latent_dim = parts.encoder.latent_dim
    recovery = build_recovery(parts.diffusion, latent_dim, NUM_FRAMES)
    recogniser = build_recogniser(latent_dim, parts.fusion, parts.refiner)
    model = EmotionModel(build_encoder(parts.encoder, DIMS, lengths), recovery, recogniser).eval()
    own = predictor(model, Inference.of(config, config.diffusion), "av", seed=0)

    def predict(batch: Batch) -> torch.Tensor:
        disturb(batch)
        return own(batch)

    settings = SpeedConfig(**{"batch_size": 2, "num_threads": 1, "reference_steps": 1, **speed})
    reference = eager_reference(reference_for(DIMS, lengths, "cpu"), "av")
    return cost(model, clips(2), clips(1), settings, predict, predict, reference)


def test_one_disturbed_reading_does_not_make_a_speed() -> None:
    """Every prediction computes 30 ms, the second that is timed 600 ms, more than the whole measurement may take."""
    batches = []

    def disturb(batch: Batch) -> None:
        batches.append(len(batch))
        second = len(batch) == 2 and batches.count(2) == 3  # the first is the warm-up
        end = time.thread_time() + (0.6 if second else 0.03)
        while time.thread_time() < end:
            pass

    found = measured(disturb, tolerance=1e-9, max_repeats=50, max_seconds=0.5)
    assert 2 < found["speed_repeats"] <= MIN_READINGS
    assert 30 <= found["latency_ms"] < 60


@pytest.mark.parametrize(
    ("tolerance", "max_repeats", "max_seconds", "repeats"),
    [
        (1e9, 50, 60.0, range(MIN_READINGS, 2 * MIN_READINGS + 1)),  # outliers, half of them at most, do not count
        (1e-9, 3, 60.0, [3]),
        (1e-9, 50, 0.0, [1]),  # what has begun is finished
    ],
)
def test_measuring_ends_with_a_narrow_interval_or_at_a_limit(
    tolerance: float, max_repeats: int, max_seconds: float, repeats: Any
) -> None:
    found = measured(tolerance=tolerance, max_repeats=max_repeats, max_seconds=max_seconds)
    assert found["speed_repeats"] in repeats
    for size in ("", "_b1"):
        middle = found[f"speedup_vs_imder{size}"]
        assert 0 < found[f"speedup{size}_low"] <= middle <= found[f"speedup{size}_high"]
        assert repeats != [1] or found[f"speedup{size}_low"] == middle == found[f"speedup{size}_high"]
    assert found["concurrency"] >= 0 and found["latency_ms_b1"] > 0
    assert found["clips_per_s"] == pytest.approx(2 / (1e-3 * found["latency_ms"]))


@pytest.mark.slow
def test_the_exported_graph_is_timed_beside_the_references() -> None:
    """Both in ONNX Runtime; what is counted is the same work."""
    config = experiment(*SMALL, "diffusion.num_steps=1", "diffusion.backbone=mixer", "diffusion.backbone.num_layers=1")
    dataset, parts = load_dataset(config), Parts.of(of_model(config))
    latent_dim, num_frames = parts.encoder.latent_dim, parts.encoder.length(min(dataset.lengths.values()))
    model = EmotionModel(
        build_encoder(parts.encoder, dataset.dims, dataset.lengths),
        build_recovery(parts.diffusion, latent_dim, num_frames),
        build_recogniser(latent_dim, parts.fusion, parts.refiner),
    ).eval()
    inference = Inference.of(config, config.diffusion)
    found = {}
    for runtime in ("eager", "onnx"):
        speed = SpeedConfig(runtime=runtime, batch_size=4, max_repeats=3)
        found[runtime] = measure(model, dataset, "valid", inference, speed, 0, "cpu")
    eager, onnx = found["eager"], found["onnx"]
    assert eager.keys() == onnx.keys()
    assert eager["flops_per_clip"] == onnx["flops_per_clip"] > 0
    assert onnx["latency_ms_b1"] < eager["latency_ms_b1"]
    assert onnx["speedup_vs_imder"] > 1


def test_graphs_are_timed_on_a_cpu_only() -> None:
    config = experiment(*SMALL)
    dataset, parts = load_dataset(config), Parts.of(of_model(config))
    model = EmotionModel(
        build_encoder(parts.encoder, dataset.dims, dataset.lengths),
        None,
        build_recogniser(parts.encoder.latent_dim, parts.fusion),
    ).eval()
    speed, inference = SpeedConfig(runtime="onnx"), Inference.of(config, None)
    with pytest.raises(UserError, match=r"speed\.runtime=onnx is measured on a CPU"):
        measure(model, dataset, "valid", inference, speed, 0, "meta")

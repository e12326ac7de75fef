"""What a prediction costs, measured beside the IMDer reference in the same process.

The two are timed in turn, so that a machine that slows down slows both, and the median of the pairwise ratios is
reported, with how sure it is. The reference's 100 Euler-Maruyama steps are equal work: `SpeedConfig.reference_steps` of
them are timed and scaled up. ``benchmarks/inference.py`` times all of it.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from imer_ray.config.components import Component, build, option
from imer_ray.config.experiment import DiffusionConfig, ExperimentConfig, SpeedConfig
from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.evaluation.timing.reference_work import REFERENCE_STEPS, Reference, reference_clock
from imer_ray.evaluation.timing.robust_median import MIN_READINGS, median_interval, without_outliers
from imer_ray.evaluation.timing.stopwatch import Clock, timed
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Diffusion
from imer_ray.models.recovery import build_recovery
from imer_ray.models.threads import threads
from imer_ray.models.uncompiled import never_compiled, nothing_compiled
from imer_ray.stages.node_load import num_neighbours

DISTURBED = 2.0  # the highest of a speedup's readings over the lowest, above which they disagree
# torch 2.13 knows the cost of fused attention on GPUs only; without this, attention would be free on a CPU.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *rest, **named: sdpa_flop_count(q, k, v)
}


def reference_diffusion() -> DiffusionConfig:
    """IMDer's diffusion as published."""

    def chosen(name: str, of: str, **changes: Any) -> Component:
        return Component.of({**option(f"diffusion/{name}", of), **changes})

    return DiffusionConfig(
        sde=chosen("sde", "imder_ve"),
        weighting=chosen("weighting", "uniform"),
        time_sampling=chosen("time_sampling", "uniform"),
        prior=chosen("prior", "none"),
        backbone=chosen("backbone", "imder_unet", cached=False),
        sampler=chosen("sampler", "euler_maruyama"),
        parametrization="score",
        num_steps=REFERENCE_STEPS,
    )


def reference_encoder() -> Any:
    """IMDer's projections, but for their kernel, as in its preset: one latent of each frame, of its width, 32."""
    return build(option("encoder", "projection"))


def reference_frames(lengths: Mapping[str, int]) -> int:
    """Latent frames that the reference has of clips of these lengths."""
    return reference_encoder().length(min(lengths.values()))


def reference_config(config: ExperimentConfig) -> ExperimentConfig:
    """IMDer's networks and what they compute, as published, behind this configuration's encoder."""
    refiner, fusion = (Component.of(option(group, "imder")) for group in ("refiner", "fusion"))
    return replace(config, system="imder", diffusion=reference_diffusion(), refiner=refiner, fusion=fusion)


def check_lengths(encoder: Any, name: str, lengths: Mapping[str, int]) -> None:
    """Refuse data that every system would be trained on before the reference, or this encoder, could not be built.

    Args:
        encoder: the component of this ``name``.

    Raises:
        UserError: clips have fewer frames than IMDer's network can halve, or than the encoder makes a latent of.
    """
    shortest = min(lengths.values())
    needed = build(option("diffusion/backbone", "imder_unet")).min_frames
    if shortest < needed:
        raise UserError(
            f"speed is measured beside IMDer's network, which needs clips of at least {needed} frames, not the data's "
            f"{shortest}: use longer sequences (such as data.num_frames)"
        )
    if encoder.length(shortest) < 1:
        raise UserError(
            f"encoder={name} makes no latent of the data's {shortest} frames: set encoder.kernel_size=1 or "
            f"encoder.padding, or use longer sequences (such as data.num_frames)"
        )


@functools.lru_cache(maxsize=2)
def _reference(dims: tuple, lengths: tuple, device: str) -> EmotionModel:
    """Untrained: time does not depend on the weights' values."""
    diffusion, encoder = Diffusion.of(reference_diffusion()), reference_encoder()
    refiner, fusion = (build(option(group, "imder")) for group in ("refiner", "fusion"))
    latent_dim = encoder.latent_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encode = build_encoder(encoder, dict(dims), dict(lengths))
        recovery = build_recovery(diffusion, latent_dim, reference_frames(dict(lengths)))
        model = EmotionModel(encode, recovery, build_recogniser(latent_dim, fusion, refiner))
    return model.eval().requires_grad_(False).to(device)


def reference_for(dims: Mapping[str, int], lengths: Mapping[str, int], device: str) -> EmotionModel:
    """The IMDer reference for features of these shapes, built once per process: the same of every configuration, so
    that their speeds compare."""
    return _reference(tuple(sorted(dims.items())), tuple(sorted(lengths.items())), device)


@dataclass
class _Size:
    """Readings at one batch size, in turn: seconds of a prediction and of the reference, and their ratio's interval."""

    predict: Callable[[], Any]
    reference: Callable[[], float]
    clock: Clock
    device: torch.device
    ours: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def read(self) -> None:
        theirs = self.reference()
        self.ours.append(timed(self.predict, self.device, self.clock))
        self.ratios.append(theirs / self.ours[-1])

    @property
    def kept(self) -> list[int]:
        return without_outliers(self.ratios)

    @property
    def seconds(self) -> float:
        return statistics.median(self.ours[i] for i in self.kept)

    @property
    def speedup(self) -> tuple[float, float, float]:
        """Median of the ratios without outliers, and the median's 95 % interval."""
        ratios = [self.ratios[i] for i in self.kept]
        return statistics.median(ratios), *median_interval(ratios)

    @property
    def is_disturbed(self) -> bool:
        """Readings that lie so far apart tell that some were disturbed and, while they are few, not which."""
        _, low, high = self.speedup
        return high > DISTURBED * low and len(self.ratios) < MIN_READINGS

    def is_known_within(self, tolerance: float) -> bool:
        middle, low, high = self.speedup
        return len(self.kept) >= MIN_READINGS and high - low <= tolerance * middle


def cost(
    model: EmotionModel,
    batch: Batch,
    one: Batch,
    speed: SpeedConfig,
    predict: Callable[[Batch], Any],
    counted: Callable[[Batch], Any],
    reference: Reference,
    num_warm_ups: int = 1,
) -> dict[str, float]:
    """Cost of ``predict(batch)`` for a batch and for one clip, after so many calls that are not timed; ``counted`` is
    the same work in PyTorch, of which the operations are counted.

    Both are timed in turn with the reference until both speedups' 95 % intervals (`readings.median_interval`) are
    narrower than ``speed.tolerance`` times their median, or ``speed.max_repeats`` or ``speed.max_seconds`` is reached;
    readings that disagree by more than a factor of two are given up to `readings.MIN_READINGS` all the same.
    One thread on a CPU is timed by what it computed itself: what other processes took from it does not count. A GPU is
    timed by its own events.

    Returns:
        ``latency_ms`` of the whole batch and ``latency_ms_b1`` of one clip (medians), ``clips_per_s``,
        ``speedup_vs_imder`` (median ratio at the batch's size) with its interval ``speedup_low`` and ``speedup_high``,
        the same of one clip (``speedup_vs_imder_b1``, ``speedup_b1_low``, ``speedup_b1_high``), ``speed_repeats``,
        ``concurrency`` (other stages on the node, mean over the repeats), ``flops_per_clip``, ``num_parameters``.
    """
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with threads(speed.num_threads), nothing_compiled(), counter:  # of compiled code nothing is counted
        never_compiled(type(counter.mode).__torch_dispatch__)  # type: ignore[union-attr]
        counted(one)
    device = batch.labels.device
    alone = speed.num_threads == 1 and device.type == "cpu"
    neighbours, clock = list[int](), time.thread_time if alone else time.perf_counter
    with threads(speed.num_threads):
        sizes = []
        for some in (batch, one):
            for _ in range(num_warm_ups):
                predict(some)
            theirs = reference_clock(reference(some, speed.reference_steps), speed.reference_steps, clock, device)
            sizes.append(_Size(functools.partial(predict, some), theirs, clock, device))
        end = clock() + speed.max_seconds
        while len(neighbours) < speed.max_repeats:
            neighbours.append(num_neighbours())
            for size in sizes:
                size.read()
            spent = clock() >= end and not any(size.is_disturbed for size in sizes)
            if spent or all(size.is_known_within(speed.tolerance) for size in sizes):
                break
    (speedup, low, high), (speedup_b1, low_b1, high_b1) = (size.speedup for size in sizes)
    return {
        "latency_ms": 1e3 * sizes[0].seconds,
        "latency_ms_b1": 1e3 * sizes[1].seconds,
        "clips_per_s": len(batch) / sizes[0].seconds,
        "speedup_vs_imder": speedup,
        "speedup_low": low,
        "speedup_high": high,
        "speedup_vs_imder_b1": speedup_b1,
        "speedup_b1_low": low_b1,
        "speedup_b1_high": high_b1,
        "speed_repeats": float(len(neighbours)),
        "concurrency": statistics.fmean(neighbours),
        "flops_per_clip": float(counter.get_total_flops()),
        "num_parameters": float(sum(p.numel() for p in model.parameters())),
    }


def timed_pattern(model: EmotionModel) -> str:
    """What is available where time is measured. One modality is missing: language, or the first that the model can
    recover."""
    recoverable = None if model.recovery is None else model.recovery.recoverable
    missing = 0 if recoverable is None else int(recoverable.int().argmax())
    return "".join(m for number, m in enumerate(MODALITIES) if number != missing)

"""What is timed as it would be deployed: the exported graph of a model, and IMDer's beside it, by ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imer_ray.config.components import build, option
from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.evaluation.timing.reference_work import Reference, Work
from imer_ray.models.backbones.imder_unet import Condition
from imer_ray.models.model import EmotionModel
from imer_ray.models.pattern_model import PatternModel
from imer_ray.runtime.onnx_graph import OnnxGraph
from imer_ray.runtime.onnx_session import OnnxSession
from imer_ray.runtime.pattern_graph import (
    GivenRows,
    PatternGraph,
    exported,
    shape_of,
    traced,
)
from imer_ray.runtime.pattern_session import PatternSession

STEP_INPUTS = ("x", "fused", "own", "noise")


def graph_predictor(
    model: PatternModel, dims: Mapping[str, int], lengths: Mapping[str, int], num_threads: int, seed: int
) -> Callable[[Batch], NDArray[Any]]:
    """``predict(batch) -> [B]`` by the model's graph.

    Raises:
        UserError: a component has no graph.
    """
    shape = shape_of(model, dims, lengths)
    graph, module = OnnxGraph(exported(model, shape), shape.inputs), PatternGraph(model)
    return PatternSession(*_sessions(graph, module, "the model's graph", num_threads), shape, seed)


def _sessions(graph: OnnxGraph, module: nn.Module, name: str, num_threads: int) -> tuple[OnnxSession, OnnxSession]:
    """For any clips, and for one clip that has every frame."""
    any_clips, for_one = (OnnxSession(graph.filled(module, is_one), name, num_threads) for is_one in (False, True))
    return any_clips, for_one


def graph_reference(
    reference: EmotionModel,
    pattern: str,
    num_steps: int,
    dims: Mapping[str, int],
    lengths: Mapping[str, int],
    num_threads: int,
) -> Reference:
    """The reference's graphs, made once per process, where the modalities of ``pattern`` are available."""
    sizes = tuple(sorted(dims.items())), tuple(sorted(lengths.items()))
    steps, rest = _reference_graphs(reference, pattern, num_steps, *sizes, num_threads)

    @torch.no_grad()
    def work(batch: Batch, _: int) -> Work:
        latents, frames = reference.encoder(batch.features, batch.frames)
        is_one = len(batch) == 1 and all(bool(batch.frames[m].all()) for m in pattern)
        starts = []
        for m, sessions in steps.items():
            session = sessions[is_one]
            x, cache = torch.randn_like(latents[:, m]), _condition(reference, m, pattern, latents, frames)
            noise = torch.randn(len(x), max(num_steps - 1, 1), *x.shape[1:])
            given = dict(zip(STEP_INPUTS, (x, cache.fused, cache.own, noise), strict=True))
            starts.append((session, {name: given[name].numpy() for name in session.inputs}))
        whole = {f"{m}_frames": batch.frames[m].numpy() for m in pattern}
        whole |= {m: batch.features[m].numpy() for m in pattern}
        ending = rest[is_one]
        last = {name: whole[name] for name in ending.inputs}
        return (lambda: [session(given) for session, given in starts]), (lambda: ending(last))

    return work


@functools.lru_cache(maxsize=2)
def _reference_graphs(
    reference: EmotionModel, pattern: str, num_steps: int, dims: tuple, lengths: tuple, num_threads: int
) -> tuple[dict[int, tuple[OnnxSession, OnnxSession]], tuple[OnnxSession, OnnxSession]]:
    """Of every missing modality the graphs of some steps; and the graphs of encoder, refiner, fusion and head."""
    plain = PatternModel(EmotionModel(reference.encoder, None, reference.recogniser), pattern)
    shape = shape_of(plain, dict(dims), dict(lengths))
    graph, name = OnnxGraph(exported(plain, shape), shape.inputs), "the reference's graph"
    rest = _sessions(graph, PatternGraph(plain), name, num_threads)
    features = {m: torch.zeros(2, dict(lengths)[m], dict(dims)[m]) for m in MODALITIES}
    frames = {m: torch.ones(2, dict(lengths)[m], dtype=torch.bool) for m in MODALITIES}
    steps = {}
    with torch.no_grad():
        latents, there = reference.encoder(features, frames)
        for m in (m for m, letter in enumerate(MODALITIES) if letter not in pattern):
            cache, module = _condition(reference, m, pattern, latents, there), _Steps(reference, m, num_steps)
            x = torch.zeros_like(latents[:, m])
            noise = torch.zeros(len(x), max(num_steps - 1, 1), *x.shape[1:])
            graph = OnnxGraph(traced(module, (x, cache.fused, cache.own, noise)), STEP_INPUTS)
            steps[m] = _sessions(graph, module, name, num_threads)
    return steps, rest


def _condition(reference: EmotionModel, m: int, pattern: str, latents: Tensor, frames: Tensor) -> Condition:
    assert reference.recovery is not None
    network: Any = reference.recovery.networks[m]
    return network.condition(latents, tuple(name in pattern for name in MODALITIES), frames)


class _Steps(nn.Module):
    """Some of IMDer's steps: x [B, L, D], the condition's parts and noise [B, K, L, D] to [B, L, D]."""

    def __init__(self, reference: EmotionModel, m: int, num_steps: int) -> None:
        super().__init__()
        assert reference.recovery is not None
        self.network: Any = reference.recovery.networks[m]
        self.recovery, self.num_steps = reference.recovery, num_steps
        self.sampler = build(option("diffusion/sampler", "euler_maruyama"))

    def forward(self, x: Tensor, fused: Tensor, own: Tensor, noise: Tensor) -> Tensor:
        cache = Condition(fused, None, own)

        def ask(x: Tensor, t: Tensor) -> Tensor:
            return self.network(x, t, cache)

        denoiser = Denoiser(ask, self.recovery.sde, self.recovery.parametrization, self.network.scale_input)
        return self.sampler.sample(denoiser, self.recovery.sde, x, self.num_steps, GivenRows(noise))

"""A pattern model that takes tensors alone, noise among them, and its program by `torch.export`."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.diffusion.noise import RowNoise, mixed_one, normal_numbers
from imer_ray.errors import UserError
from imer_ray.models.pattern_model import PatternModel, clip_key, noise_of
from imer_ray.received import one_line
from imer_ray.runtime.looped_sampler import for_graph

MAX_BATCH = 2**20
EXAMPLE_CLIPS = 3  # torch.export takes the sizes 0 and 1 for constants


@dataclass(frozen=True)
class GraphShape:
    """What a graph takes: features {m: (L, D)} of the pattern's modalities, frames beside them, and noise.

    Attributes:
        noise: (N, T, K, L', D') of a clip; empty where nothing is drawn.
        targets: the modalities that are drawn, by number.
    """

    pattern: str
    features: Mapping[str, tuple[int, int]]
    noise: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """{name: shape of a clip's} in the graph's order."""
        frames = {f"{m}_frames": (length,) for m, (length, _) in self.features.items()}
        return {**self.features, **frames, **({"noise": self.noise} if self.noise else {})}


class PatternGraph(nn.Module):
    """`PatternModel` of tensors: features {m: [B, L, D]}, frames {m: [B, L]} and noise [B, N, T, K, L', D'] (None where
    nothing is drawn) to predictions [B]. Many evaluations become a loop (`imer_ray.runtime.looped_sampler`)."""

    def __init__(self, model: PatternModel) -> None:
        super().__init__()
        self.model = copy.copy(model)  # the same parts, weights included
        self.model.sampler = for_graph(model.sampler, model.num_steps)

    def forward(
        self, features: Mapping[str, Tensor], frames: Mapping[str, Tensor], noise: Tensor | None = None
    ) -> Tensor:
        if noise is None:
            return self.model(features, frames, GivenNoise({}))
        rows = noise[:, 0] if noise.shape[1] == 1 else noise.transpose(0, 1).flatten(0, 1)  # all first draws first
        return self.model(features, frames, GivenNoise({m: rows[:, i] for i, m in enumerate(self.model.targets)}))


class GivenNoise:
    """`imer_ray.diffusion.noise.Streams` whose numbers are given: {stream: [R, K, L', D']}."""

    def __init__(self, streams: Mapping[int, Tensor]) -> None:
        self.streams = streams

    def of(self, identity: int) -> GivenRows:
        return GivenRows(self.streams[identity])


class GivenRows:
    """The arrays [R, K, L', D'] of one stream, or of several, handed out one after another."""

    def __init__(self, arrays: Tensor) -> None:
        self.arrays, self.position = arrays, 0

    def joined(self, others: Sequence[Any]) -> GivenRows:
        return GivenRows(torch.cat([self.arrays, *(other.arrays for other in others)]))

    def standard_normal(self, shape: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
        self.position += 1
        return self.arrays[:, self.position - 1].to(dtype)

    def rest(self) -> Tensor:
        """Those that were not handed out yet, [R, K', L', D']."""
        return self.arrays[:, self.position :]


class _Counted(RowNoise):
    """Noise that remembers the shapes that were drawn of it."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        super().__init__(np.zeros(1, np.uint64))
        self.shapes = shapes

    def of(self, identity: int) -> _Counted:
        return self

    def joined(self, others: Sequence[Any]) -> _Counted:
        return self

    def standard_normal(self, shape: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
        self.shapes.append(tuple(shape))
        return torch.ones(*shape, device=device, dtype=dtype)


@torch.no_grad()
def shape_of(model: PatternModel, dims: Mapping[str, int], lengths: Mapping[str, int]) -> GraphShape:
    """What the graph of a model for clips of these widths and lengths takes; it is asked about one clip to find out."""
    shape = {m: (lengths[m], dims[m]) for m in MODALITIES if m in model.pattern}
    noise: tuple[int, ...] = ()
    if model.targets:
        drawn: list[tuple[int, ...]] = []
        model(*_one_clip(shape), _Counted(drawn))
        num_targets = len(model.targets)
        rows = sum(one[0] for one in drawn) // model.num_draws  # of all targets, whether they are drawn at once or not
        noise = (model.num_draws, num_targets, rows // num_targets, *drawn[0][1:])
    return GraphShape(model.pattern, shape, noise, model.targets)


def _one_clip(shape: Mapping[str, tuple[int, int]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    features = {m: torch.zeros(1, *size) for m, size in shape.items()}
    return features, {m: torch.ones(1, size[0], dtype=torch.bool) for m, size in shape.items()}


def inputs_of(batch: Batch, shape: GraphShape, seed: int) -> dict[str, NDArray[Any]]:
    """What a graph is given of a batch's clips; it then draws what the model would draw."""
    features = {m: batch.features[m].numpy() for m in shape.pattern}
    frames = {f"{m}_frames": batch.frames[m].numpy() for m in shape.pattern}
    return {**features, **frames, **({"noise": _noise(batch, shape, seed)} if shape.noise else {})}


def _noise(batch: Batch, shape: GraphShape, seed: int) -> NDArray[np.float32]:
    """[B, N, T, K, L', D'], equal to what `PatternModel.noise` gives the samplers."""
    num_draws, num_targets, *rest = shape.noise
    source, size = noise_of(batch, shape.pattern, num_draws, seed), math.prod(rest)
    keys = np.stack([source.of(m).keys for m in shape.targets], 1)  # [N B, T]
    by_draw = normal_numbers(keys.ravel(), 0, size).reshape(num_draws, len(batch), num_targets, *rest)
    return np.ascontiguousarray(by_draw.swapaxes(0, 1))


def inputs_of_one(batch: Batch, shape: GraphShape, seed: int) -> dict[str, NDArray[Any]]:
    """As `inputs_of`, of a batch of one clip that has every frame, and without frames; it takes half the time."""
    inputs = {m: batch.features[m].numpy() for m in shape.pattern}
    if shape.noise:
        num_draws, _, *rest = shape.noise
        key = clip_key({m: int(batch.digest(m)[0]) for m in shape.pattern}, seed)
        by_draw = (mixed_one(key, draw) for draw in range(num_draws))
        keys = [mixed_one(of_draw, m) for of_draw in by_draw for m in shape.targets]
        inputs["noise"] = normal_numbers(np.array(keys, np.uint64), 0, math.prod(rest)).reshape(1, *shape.noise)
    return inputs


def example(shape: GraphShape, num_clips: int = EXAMPLE_CLIPS) -> tuple[Any, ...]:
    """Random inputs of a graph; the first clip lacks its first frame, if there is another."""
    generator = torch.Generator().manual_seed(0)
    features = {m: torch.randn(num_clips, *size, generator=generator) for m, size in shape.features.items()}
    frames = {m: torch.ones(num_clips, size[0], dtype=torch.bool) for m, size in shape.features.items()}
    for m, there in frames.items():
        there[0, : there.shape[1] // 2] = False
        features[m] = features[m] * there[..., None]
    noise = (torch.randn(num_clips, *shape.noise, generator=generator),) if shape.noise else ()
    return features, frames, *noise


def exported(model: PatternModel, shape: GraphShape) -> torch.export.ExportedProgram:
    """The program of a model, for any number of clips.

    Raises:
        UserError: some part of the model, which must be another laboratory's, asks its data how to go on; or its
            sampler takes many evaluations that no loop can make.
    """
    return traced(PatternGraph(model).eval(), example(shape))


def traced(module: nn.Module, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    """The program of a module whose inputs, tensors [B, ...] or {name: tensor}, may have any B.

    Raises:
        UserError: it does what depends on them.
    """
    batch = {0: torch.export.Dim("batch", max=MAX_BATCH)}
    sizes = tuple(dict.fromkeys(x, batch) if isinstance(x, dict) else batch for x in inputs)
    with quiet(), torch.no_grad():
        try:
            module(*inputs)  # works out what is kept for all clips, such as a time grid, which is no part of the graph
            return torch.export.export(module, inputs, dynamic_shapes=sizes, strict=False)
        except UserError:
            raise
        except Exception as error:  # what cannot be traced has no class of its own
            raise UserError(
                f"this model has no graph: a component of it does what depends on the clips' number or content "
                f"({one_line(error)}); use runtime=eager"
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters warn and log of their own insides."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

"""Predictions of a model under a configuration: its sampler, precision and compiling, and a protocol that hides."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from imer_ray.config.experiment import DiffusionConfig, ExperimentConfig, ModelConfig
from imer_ray.config.slices import Cost, Evaluate, SampledDiffusion, TimedDiffusion
from imer_ray.data.batch import Batch
from imer_ray.data.dataset import Dataset
from imer_ray.errors import UserError
from imer_ray.models.compiled import compile_parts
from imer_ray.models.model import EmotionModel
from imer_ray.models.pattern_model import PatternModel, by_pattern

BATCH_SIZE = 1024


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How predictions are made: what is drawn where something is recovered by sampling, in which precision, compiled.

    Attributes:
        compile: a mode of torch.compile, or "none".
        sampler: None where nothing is sampled.
        is_guided: whether each network call asks for two estimates, with and without the condition.
    """

    precision: str
    compile: str
    sampler: Any = None
    num_steps: int = 1
    num_draws: int = 1
    is_guided: bool = False

    @classmethod
    def of(
        cls,
        config: ExperimentConfig | Evaluate | Cost,
        diffusion: DiffusionConfig | SampledDiffusion | TimedDiffusion | None,
    ) -> Inference:
        """Of a configuration, and of its ``diffusion`` if that is what recovers missing modalities."""
        if diffusion is None:
            return cls(precision=config.precision, compile=config.compile)
        return cls(
            precision=config.precision,
            compile=config.compile,
            sampler=diffusion.sampler.build(),
            num_steps=diffusion.num_steps,
            num_draws=diffusion.num_draws,
            is_guided=diffusion.guided if isinstance(diffusion, TimedDiffusion) else diffusion.guidance != 1,
        )

    @classmethod
    def of_model(cls, config: ModelConfig) -> Inference:
        """Of a trained model; its imputer, where it has one, samples nothing."""
        return cls.of(config, config.diffusion if config.imputer is None else None)

    @property
    def num_evaluations(self) -> int:
        """Network evaluations (NFE) that recovering one modality of a clip takes, all draws; 0 without a sampler.

        Guidance doubles them: with and without the condition are two evaluations, though they run as one batch.
        """
        if self.sampler is None:
            return 0
        return self.num_draws * self.sampler.num_evaluations(self.num_steps) * (2 if self.is_guided else 1)

    @property
    def is_compiled(self) -> bool:
        """Whether predictions are made by compiled parts."""
        return self.compile != "none"


def num_evaluations(config: ExperimentConfig) -> int:
    """Network evaluations that a configuration's diffusion takes, as `Inference.num_evaluations`."""
    return Inference.of(config, config.diffusion).num_evaluations


def predictor(model: EmotionModel, inference: Inference, pattern: str, seed: int) -> Callable[[Batch], Tensor]:
    """``predict(batch) -> [B]`` for clips of which the modalities of ``pattern`` are available.

    What is drawn for a clip depends on ``seed`` and on what of it is available, not on the clips beside it. Compiles
    ``model`` if predictions are to be compiled.
    """
    ready = _ready(model, inference, pattern)

    @torch.no_grad()
    def predict(batch: Batch) -> Tensor:
        noise = ready.noise(batch, seed)  # where the clips are: a GPU need not send them back
        there = batch.to(_device(model))
        with _precision(model, inference):
            return ready(there.features, there.frames, noise).float()

    return predict


class Drawn(NamedTuple):
    """Predictions [N], each the mean over its clip's draws, and these [N, S]; NaN where there is nothing to read."""

    mean: Tensor
    draws: Tensor


def _drawer(model: EmotionModel, inference: Inference, pattern: str, seed: int) -> Callable[[Batch], Tensor]:
    """``draw(batch) -> [B, 1 + S]``: what `predictor` predicts, and the S draws that it averages."""
    ready = _ready(model, inference, pattern)

    @torch.no_grad()
    def draw(batch: Batch) -> Tensor:
        noise = ready.noise(batch, seed)
        there = batch.to(_device(model))
        with _precision(model, inference):
            answers = ready.answers(there.features, there.frames, noise)
            mean = ready.averaged(answers)  # in the precision of `predictor`'s, so that the two are equal
        draws = answers.view(ready.num_draws, -1).T.expand(-1, inference.num_draws)
        return torch.cat([mean[:, None], draws], 1).float()

    return draw


def _ready(model: EmotionModel, inference: Inference, pattern: str) -> PatternModel:
    if inference.is_compiled:
        compile_parts(model, inference.compile)
    return PatternModel(model, pattern, inference.sampler, inference.num_steps, inference.num_draws)


def _device(model: EmotionModel) -> torch.device:
    return next(model.encoder.buffers()).device


def _precision(model: EmotionModel, inference: Inference) -> torch.autocast:
    return torch.autocast(_device(model).type, torch.bfloat16, enabled=inference.precision == "bf16")


def predict_clips(batch: Batch, available: Tensor, predictor_for: Callable[[str], Callable[[Batch], Tensor]]) -> Tensor:
    """Predictions [B, ...] on the CPU where ``available`` [B, M] says which recorded modalities may be used; NaN of a
    clip with none."""
    out = torch.full((len(batch),), math.nan)
    for pattern, rows in by_pattern(available & batch.recorded):
        found = predictor_for(pattern)(batch if len(rows) == len(batch) else batch.select(rows)).cpu()
        if out.shape[1:] != found.shape[1:]:
            out = out.new_full((len(batch), *found.shape[1:]), math.nan)
        out[rows] = found
    return out


def _predicted(
    dataset: Dataset,
    split: str,
    rows: Tensor,
    available: Tensor,
    predictor_for: Callable[[str], Callable[[Batch], Tensor]],
) -> Tensor | None:
    """`predict_clips` of some rows of a split; None where the GPU has no room for them."""
    try:
        return predict_clips(dataset.batch(split, rows), available[rows], predictor_for)
    except torch.OutOfMemoryError:
        pass
    torch.cuda.empty_cache()  # only now: the error's traceback holds what has filled the memory
    return None


def predict_protocol(
    model: EmotionModel,
    dataset: Dataset,
    split: str,
    protocol: Any,
    inference: Inference,
    seed: int,
    device: str,
) -> dict[str, Tensor]:
    """{setting: predictions [N]} under every setting of a protocol, NaN where it leaves a clip nothing to read."""
    drawn = draw_protocol(model, dataset, split, protocol, inference, seed, device)
    return {setting: of_setting.mean for setting, of_setting in drawn.items()}


def draw_protocol(
    model: EmotionModel,
    dataset: Dataset,
    split: str,
    protocol: Any,
    inference: Inference,
    seed: int,
    device: str,
) -> dict[str, Drawn]:
    """As `predict_protocol`, with the draws; a clip for which nothing is drawn has its prediction in place of each.

    What a GPU has no room for is predicted in half the number of clips, which does not change what is predicted.

    Raises:
        UserError: it has not room for one.
    """
    size = BATCH_SIZE
    drawer_for = functools.cache(lambda pattern: _drawer(model.to(device), inference, pattern, seed))
    out = {}
    for setting in protocol.settings():
        left = dataset.under(protocol, setting, split, seed)
        available = left.recorded(split)
        found = torch.full((len(available), 1 + inference.num_draws), math.nan)
        rows = available.any(1).nonzero().squeeze(1)
        while len(rows):
            some = rows[:size]
            drawn = _predicted(left, split, some, available, drawer_for)
            if drawn is not None:
                found[some], rows = drawn, rows[size:]
            elif len(some) == 1:
                raise UserError(
                    f"the GPU has no room to predict one clip of the {split} split: use a larger one, or a CPU"
                )
            else:
                size = len(some) // 2
        out[setting] = Drawn(found[:, 0], found[:, 1:])
    return out

"""Predictions of a model under a configuration: its sampler, precision and compiling, and a protocol that hides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imer_ray.config.components import build
from imer_ray.data.batch import Batch
from imer_ray.data.dataset import Dataset
from imer_ray.diffusion.guidance import evaluations_per_call
from imer_ray.models.compiled import compile_parts
from imer_ray.models.model import EmotionModel
from imer_ray.training.loop import seeded

BATCH_SIZE = 1024


def num_evaluations(config: Mapping[str, Any]) -> int:
    """Network evaluations (NFE) that recovering one modality of a clip takes, all draws; 0 without recovery.

    Guidance doubles them: with and without the condition are two evaluations, though they run as one batch.
    """
    diffusion = sampling(config)
    if not diffusion:
        return 0
    num_calls = build(diffusion["sampler"]).num_evaluations(diffusion["num_steps"])
    return diffusion["num_draws"] * num_calls * evaluations_per_call(diffusion["guidance"])


def sampling(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The diffusion's settings; none where nothing is sampled, be it that an imputer recovers."""
    return {} if "imputer" in config else config.get("diffusion", {})


def is_compiled(config: Mapping[str, Any]) -> bool:
    """Whether predictions are made by compiled parts."""
    return config["compile"] != "none"


def predictor(model: EmotionModel, config: Mapping[str, Any], generator: torch.Generator) -> Any:
    """``predict(batch, available) -> [B]`` of a configuration, in its precision; compiles ``model`` if it says so."""
    if is_compiled(config):
        compile_parts(model, config["compile"])
    diffusion = sampling(config)
    sampler = build(diffusion["sampler"]) if diffusion else None
    num_steps, num_draws = (diffusion.get(name, 1) for name in ("num_steps", "num_draws"))
    half = config["precision"] == "bf16"

    def predict(batch: Batch, available: Tensor) -> Tensor:
        with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=half):
            values = model.predict(batch, available, sampler, num_steps, generator, num_draws)  # type: ignore[arg-type]
            return values.float()

    return predict


def predict_protocol(
    model: EmotionModel, dataset: Dataset, split: str, config: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """{setting: predictions [N]}, NaN where a setting leaves a clip nothing to read."""
    protocol = build(config["protocol"])
    out = {}
    for setting in protocol.settings():
        available = protocol.mask(setting, dataset.recorded(split), split, config["seed"])
        predict = predictor(model, config, seeded(config["seed"], "evaluate", split, setting, device=device))
        out[setting] = torch.full((len(available),), math.nan)
        for rows in available.any(1).nonzero().squeeze(1).split(BATCH_SIZE):
            if not len(rows):  # an empty tensor is split into one empty part
                continue
            batch = dataset.batch(split, rows).to(device)
            out[setting][rows] = predict(batch, available[rows].to(device)).cpu()
    return out

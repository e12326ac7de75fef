"""Stage `evaluate`: metrics of a trained recogniser with one sampler setting, per setting of a protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from imer_ray.config.components import build
from imer_ray.data.batch import Batch
from imer_ray.data.dataset import Dataset
from imer_ray.diffusion.guidance import evaluations_per_call
from imer_ray.errors import UserError
from imer_ray.evaluation.metrics import metrics
from imer_ray.models.compiled import compile_parts
from imer_ray.models.model import Imer, build_recogniser_of
from imer_ray.stages.context import Context
from imer_ray.tasks.encode import load_encoder, load_shape
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_filling
from imer_ray.training.loop import seeded
from imer_ray.training.losses import has_label

BATCH_SIZE = 1024
COST_FILE = "cost.json"
MIN_CLIPS = 2


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Score ``config["split"]`` under every setting of the protocol; the input ``cost`` says what predictions cost."""
    dataset = load_dataset(config)
    model = load_model(config, context)
    split = config["split"]
    predictions = predict_protocol(model, dataset, split, config, context.device)
    results = score(predictions, dataset, split, build(config["protocol"]))
    save_file({k: v.contiguous() for k, v in predictions.items()}, context.folder / "predictions.safetensors")
    return {**results, "nfe": float(num_evaluations(config)), **load_cost(context)}


def load_model(config: Mapping[str, Any], context: Context) -> Imer:
    """The recogniser put together from the artefacts of its stages; without any that recovers, missing modalities stay
    zero."""
    encoder = load_encoder(config, context)
    trained = load_file(context.inputs["recogniser"] / "recogniser.safetensors")
    shape = load_shape(context)
    recogniser = build_recogniser_of(config, trained, shape["recoverable"])
    recogniser.load_state_dict(trained)
    num_frames = build(config["encoder"]).length(min(shape["lengths"].values()))
    recovery = load_filling(config, context, num_frames)
    return Imer(encoder, recovery, recogniser).eval().requires_grad_(False).to(context.device)


def load_cost(context: Context) -> dict[str, float]:
    """What the stage `cost` measured."""
    return json.loads((context.inputs["cost"] / COST_FILE).read_text(encoding="utf-8"))


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


def predictor(model: Imer, config: Mapping[str, Any], generator: torch.Generator) -> Any:
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
    model: Imer, dataset: Dataset, split: str, config: Mapping[str, Any], device: str
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


def score(predictions: Mapping[str, Tensor], dataset: Dataset, split: str, protocol: Any) -> dict[str, float]:
    """``<split>.<metric>``, the mean over the settings in which something is missing, and
    ``<split>.<setting>.<metric>``."""
    labels = dataset.labels(split)
    results: dict[str, float] = {}
    incomplete: dict[str, list[float]] = {}
    for setting, values in predictions.items():
        scored = ~torch.isnan(values) & has_label(labels)
        if int(scored.sum()) < MIN_CLIPS:
            continue
        found = metrics(values[scored].numpy(), labels[scored].numpy(), dataset.label_kind)
        for name, value in found.items():
            results[f"{split}.{setting}.{name}"] = value
            if setting not in protocol.complete:
                incomplete.setdefault(name, []).append(value)
    if not incomplete:
        raise UserError(f"no labelled clip of the {split} split can be scored under the {protocol} protocol")
    means = {f"{split}.{name}": sum(values) / len(values) for name, values in incomplete.items()}
    return {**means, **results}


def unscored(config: Mapping[str, Any], split: str) -> list[str]:
    """The protocol's settings that `score` leaves out: too few labelled clips recorded anything that they leave."""
    return [setting for setting, labels in scored_labels(config, split).items() if len(labels) < MIN_CLIPS]


def scored_labels(config: Mapping[str, Any], split: str) -> dict[str, Tensor]:
    """{setting: labels [n] of the clips that can be scored under it}: labelled, and something of them is left."""
    dataset, protocol = load_dataset(config), build(config["protocol"])
    labels = dataset.labels(split)
    masks = {s: protocol.mask(s, dataset.recorded(split), split, config["seed"]) for s in protocol.settings()}
    return {setting: labels[mask.any(1) & has_label(labels)] for setting, mask in masks.items()}

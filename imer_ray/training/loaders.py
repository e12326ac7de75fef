"""Trained parts of a system, read from the artefacts of its stages, and what fills its missing modalities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from imer_ray.config.components import build
from imer_ray.data.missing import MODALITIES
from imer_ray.models.model import (
    EmotionModel,
    Recogniser,
    StandardisedEncoder,
    build_encoder,
    build_recogniser,
    build_recogniser_of,
    build_refiners,
)
from imer_ray.models.recovery import Recovery, build_recovery, network_names
from imer_ray.stages.context import Context
from imer_ray.training.latents import Latents
from imer_ray.training.loop import seeded

IMPUTER_FILE = "imputer.safetensors"


def build_imputer(config: Mapping[str, Any], num_frames: int, recoverable: Iterable[str]) -> nn.Module:
    """The imputer that ``config["imputer"]`` names, not fitted yet."""
    return build(config["imputer"]).build(config["encoder"]["latent_dim"], num_frames, recoverable)


def build_filling(config: Mapping[str, Any], num_frames: int, recoverable: Iterable[str]) -> Any:
    """An untrained imputer where the configuration names one, or else its diffusions."""
    make: Any = build_imputer if "imputer" in config else build_recovery
    return make(config, num_frames, recoverable)


def load_filling(config: Mapping[str, Any], context: Context, num_frames: int) -> Any:
    """The frozen imputer of the input ``imputer`` or the diffusions of the inputs ``network_l``, ...; None without
    either."""
    if "imputer" in context.inputs:
        imputer = build_imputer(config, num_frames, load_shape(context)["recoverable"])
        imputer.load_state_dict(load_file(context.inputs["imputer"] / IMPUTER_FILE))
        return imputer.eval().requires_grad_(False).to(context.device)
    return load_recovery(config, context, num_frames) if "network_l" in context.inputs else None


def load_shape(context: Context) -> dict[str, Any]:
    """``dims``, ``lengths``, ``label_kind`` and ``recoverable`` modalities of the data that the input ``encode`` was
    trained on."""
    return json.loads((context.inputs["encode"] / "shape.json").read_text(encoding="utf-8"))


def load_encoder(config: Mapping[str, Any], context: Context) -> StandardisedEncoder:
    """The frozen encoder of the input ``encode``."""
    shape = load_shape(context)
    encoder = build_encoder(config, shape["dims"], shape["lengths"])
    encoder.load_state_dict(load_file(context.inputs["encode"] / "encoder.safetensors"))
    return encoder.eval().requires_grad_(False).to(context.device)


def load_latents(context: Context, split: str) -> Latents:
    """The latents that the input ``encode`` wrote for a split."""
    return Latents.load(context.inputs["encode"] / f"latents_{split}.safetensors").to(context.device)


def load_recogniser(config: Mapping[str, Any], context: Context, with_refiners: bool) -> Recogniser:
    """A recogniser that starts from the complete-data one; its refiners are new."""
    torch.manual_seed(seeded(config["seed"], "recogniser").initial_seed())
    recogniser = build_recogniser(config, with_refiners, recoverable=load_shape(context)["recoverable"])
    trained = load_file(context.inputs["encode"] / "recogniser.safetensors")
    recogniser.load_state_dict(trained, strict=False)
    return recogniser.to(context.device)


def load_recovery(config: Mapping[str, Any], context: Context, num_frames: int) -> Recovery:
    """The frozen diffusions of all modalities, from the inputs ``network_l``, ``network_a`` and ``network_v``, which
    are one and the same where they share a network."""
    recovery = build_recovery(config, num_frames, load_shape(context)["recoverable"])
    for m, network in enumerate(recovery.networks):
        folder = context.inputs[f"network_{MODALITIES[m]}"]
        network.load_state_dict(load_file(folder / f"network_{network_names(config)[m]}.safetensors"))
    return recovery.eval().requires_grad_(False).to(context.device)


def load_refiners(config: Mapping[str, Any], context: Context) -> nn.ModuleList:
    """The refiners of all modalities, from the inputs ``refiner_l``, ``refiner_a`` and ``refiner_v``."""
    refiners = build_refiners(config)
    for refiner, name in zip(refiners, MODALITIES, strict=True):
        refiner.load_state_dict(load_file(context.inputs[f"refiner_{name}"] / _refiner_file(name)))
    return refiners.to(context.device)


def _refiner_file(modality: str) -> str:
    return f"refiner_{modality}.safetensors"


def load_model(config: Mapping[str, Any], context: Context) -> EmotionModel:
    """The recogniser put together from the artefacts of its stages; without any that recovers, missing modalities stay
    zero."""
    encoder = load_encoder(config, context)
    trained = load_file(context.inputs["recogniser"] / "recogniser.safetensors")
    shape = load_shape(context)
    recogniser = build_recogniser_of(config, trained, shape["recoverable"])
    recogniser.load_state_dict(trained)
    num_frames = build(config["encoder"]).length(min(shape["lengths"].values()))
    recovery = load_filling(config, context, num_frames)
    return EmotionModel(encoder, recovery, recogniser).eval().requires_grad_(False).to(context.device)

"""Trained parts of a system, read from the artefacts of its stages, and what fills its missing modalities."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

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
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import Recovery, build_recovery, network_names
from imer_ray.stages.context import Context
from imer_ray.training.latents import Latents
from imer_ray.training.loop import seeded

IMPUTER_FILE = "imputer.safetensors"


def build_filling(parts: Parts, num_frames: int, recoverable: Iterable[str]) -> Any:
    """An untrained imputer where the parts have one, or else their diffusions; None without either."""
    latent_dim = parts.encoder.latent_dim
    if parts.imputer is not None:
        return parts.imputer.build(latent_dim, num_frames, recoverable)
    return None if parts.diffusion is None else build_recovery(parts.diffusion, latent_dim, num_frames, recoverable)


def load_filling(parts: Parts, context: Context, num_frames: int) -> Any:
    """The frozen imputer of the input ``imputer`` or the diffusions of the inputs ``network_l``, ...; None without
    either."""
    if parts.imputer is None:
        return None if parts.diffusion is None else load_recovery(parts, context, num_frames)
    imputer = build_filling(parts, num_frames, load_shape(context)["recoverable"])
    imputer.load_state_dict(load_file(context.inputs["imputer"] / IMPUTER_FILE))
    return imputer.eval().requires_grad_(False).to(context.device)


def load_shape(context: Context) -> dict[str, Any]:
    """``dims``, ``lengths``, ``label_kind`` and ``recoverable`` modalities of the data that the input ``encode`` was
    trained on."""
    return json.loads((context.inputs["encode"] / "shape.json").read_text(encoding="utf-8"))


def load_encoder(encoder: Any, context: Context) -> StandardisedEncoder:
    """The frozen encoder of the input ``encode``."""
    shape = load_shape(context)
    network = build_encoder(encoder, shape["dims"], shape["lengths"])
    network.load_state_dict(load_file(context.inputs["encode"] / "encoder.safetensors"))
    return network.eval().requires_grad_(False).to(context.device)


def load_latents(context: Context, split: str) -> Latents:
    """The latents that the input ``encode`` wrote for a split."""
    return Latents.load(context.inputs["encode"] / f"latents_{split}.safetensors").to(context.device)


def load_recogniser(parts: Parts, context: Context, seed: int) -> Recogniser:
    """A recogniser that starts from the complete-data one; its refiners, where the parts have them, are new."""
    torch.manual_seed(seeded(seed, "recogniser").initial_seed())
    recoverable = load_shape(context)["recoverable"]
    recogniser = build_recogniser(parts.encoder.latent_dim, parts.fusion, parts.refiner, recoverable=recoverable)
    trained = load_file(context.inputs["encode"] / "recogniser.safetensors")
    recogniser.load_state_dict(trained, strict=False)
    return recogniser.to(context.device)


def load_recovery(parts: Parts, context: Context, num_frames: int) -> Recovery:
    """The frozen diffusions of all modalities, from the inputs ``network_l``, ``network_a`` and ``network_v``, which
    are one and the same where they share a network."""
    assert parts.diffusion is not None
    recoverable = load_shape(context)["recoverable"]
    recovery = build_recovery(parts.diffusion, parts.encoder.latent_dim, num_frames, recoverable)
    for m, (network, name) in enumerate(zip(recovery.networks, network_names(parts.diffusion.sharing), strict=True)):
        folder = context.inputs[f"network_{MODALITIES[m]}"]
        network.load_state_dict(load_file(folder / f"network_{name}.safetensors"))
    return recovery.eval().requires_grad_(False).to(context.device)


def load_refiners(parts: Parts, context: Context) -> nn.ModuleList:
    """The refiners of all modalities, from the inputs ``refiner_l``, ``refiner_a`` and ``refiner_v``."""
    refiners = build_refiners(parts.refiner, parts.encoder.latent_dim)
    for refiner, name in zip(refiners, MODALITIES, strict=True):
        refiner.load_state_dict(load_file(context.inputs[f"refiner_{name}"] / refiner_file(name)))
    return refiners.to(context.device)


def refiner_file(modality: str) -> str:
    return f"refiner_{modality}.safetensors"


def load_model(parts: Parts, context: Context) -> EmotionModel:
    """The recogniser put together from the artefacts of its stages; without any that recovers, missing modalities stay
    zero."""
    encoder = load_encoder(parts.encoder, context)
    trained = load_file(context.inputs["recogniser"] / "recogniser.safetensors")
    shape = load_shape(context)
    recogniser = build_recogniser_of(parts, trained, shape["recoverable"])
    recogniser.load_state_dict(trained)
    recovery = load_filling(parts, context, parts.encoder.length(min(shape["lengths"].values())))
    return EmotionModel(encoder, recovery, recogniser).eval().requires_grad_(False).to(context.device)

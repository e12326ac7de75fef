"""Trained parts of a system, read from the artefacts of its stages, and what fills its missing modalities."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES
from imer_ray.models.model import (
    EmotionModel,
    Recogniser,
    StandardisedEncoder,
    build_encoder,
    build_model,
    build_recogniser,
    build_refiners,
)
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import build_filling, network_names
from imer_ray.stages.context import Context
from imer_ray.training.latents import Latents
from imer_ray.training.seeding import seeded

IMPUTER_FILE = "imputer.safetensors"
PRIOR_FILE = "prior.safetensors"


def load_filling(parts: Parts, context: Context, num_frames: int, fold: int | None = None) -> Any:
    """The frozen imputer of the input ``imputer`` or the diffusions of the inputs ``network_l``, ... (``network_l_0``,
    ... of a ``fold``); None without either."""
    filling = build_filling(parts, num_frames, load_shape(context)["recoverable"])
    if filling is None:
        return None
    filling.load_state_dict(_filling_weights(parts, context, "" if fold is None else f"_{fold}"))
    return filling.eval().requires_grad_(False).to(context.device)


def _filling_weights(parts: Parts, context: Context, ending: str = "") -> dict[str, Tensor]:
    """The trained weights of an imputer or of diffusions, none without either; the inputs ``network_l``, ``network_a``
    and ``network_v`` are one and the same where they share a network."""
    if parts.imputer is not None:
        return load_file(context.inputs["imputer"] / IMPUTER_FILE)
    found: dict[str, Tensor] = {}
    names = () if parts.diffusion is None else network_names(parts.diffusion.sharing)
    for number, (modality, name) in enumerate(zip(MODALITIES, names, strict=False)):
        trained = load_file(context.inputs[f"network_{modality}{ending}"] / f"network_{name}.safetensors")
        found |= {f"networks.{number}.{key}": tensor for key, tensor in trained.items()}
    return found


def load_prior(networks: Iterable[Any], context: Context) -> None:
    """Give untrained networks the prior of the input ``prior``, where there is one."""
    if folder := context.inputs.get("prior"):
        for network in networks:
            network.prior.load_state_dict(load_file(folder / PRIOR_FILE))


def load_shape(context: Context) -> dict[str, Any]:
    """``dims``, ``lengths``, ``label_kind`` and ``recoverable`` modalities of the data that the input ``encode`` was
    trained on."""
    return json.loads((context.inputs["encode"] / "shape.json").read_text(encoding="utf-8"))


def load_latents(context: Context, split: str) -> Latents:
    """The latents that the input ``encode`` wrote for a split."""
    return Latents.load(context.inputs["encode"] / f"latents_{split}.safetensors").to(context.device)


def load_encoder(encoder: Any, context: Context) -> StandardisedEncoder:
    """The frozen network of an encoder component, as the input ``encode`` left it."""
    shape = load_shape(context)
    network = build_encoder(encoder, shape["dims"], shape["lengths"])
    network.load_state_dict(load_file(context.inputs["encode"] / "encoder.safetensors"))
    return network.eval().requires_grad_(False).to(context.device)


def load_recogniser(parts: Parts, context: Context, seed: int) -> Recogniser:
    """A recogniser that starts from the complete-data one; its refiners, where the parts have them, are new."""
    torch.manual_seed(seeded(seed, "recogniser").initial_seed())
    recoverable = load_shape(context)["recoverable"]
    recogniser = build_recogniser(parts.encoder.latent_dim, parts.fusion, parts.refiner, recoverable=recoverable)
    trained = load_file(context.inputs["encode"] / "recogniser.safetensors")
    recogniser.load_state_dict(trained, strict=False)
    return recogniser.to(context.device)


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
    trained = {
        "encoder": load_file(context.inputs["encode"] / "encoder.safetensors"),
        "recovery": _filling_weights(parts, context),
        "recogniser": load_file(context.inputs["recogniser"] / "recogniser.safetensors"),
    }
    tensors = {f"{part}.{name}": tensor for part, found in trained.items() for name, tensor in found.items()}
    model = build_model(parts, load_shape(context), tensors)
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False).to(context.device)

"""A trained model on disk: ``model.safetensors``, ``config.yaml`` and ``shape.json`` in one folder, whole or not at
all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from imer_ray.config import build
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.models.imer import Imer, build_encoder, build_recogniser_of
from imer_ray.training.encode import weights
from imer_ray.training.filling import build_filling

WEIGHTS, CONFIG, SHAPE = "model.safetensors", "config.yaml", "shape.json"


def save(folder: Path, model: Imer, config: Mapping[str, Any], shape: Mapping[str, Any]) -> None:
    """Write a model so that `load` builds it again; an older folder of the same name is replaced.

    ``config`` has a node ``imputer`` if the model has one, beside what every configuration has.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_file(weights(model), aside / WEIGHTS)
        (aside / CONFIG).write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        (aside / SHAPE).write_text(json.dumps(dict(shape)), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load(folder: Path, device: str = "cpu") -> tuple[Imer, dict[str, Any]]:
    """The model of a folder and its configuration.

    Raises:
        UserError: the folder is no model's, or a file in it is damaged.
    """
    config = read_config(folder)
    with _readable(folder):
        shape = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    recovers = any(name.startswith("recovery.") for name in tensors)
    encoder = build_encoder(config, shape["dims"], shape["lengths"])
    num_frames = build(config["encoder"]).length(min(shape["lengths"].values()))
    recoverable = shape.get("recoverable", MODALITIES)  # older models do not say, and knew nothing else
    recovery = build_filling(config, num_frames, recoverable) if recovers else None
    model = Imer(encoder, recovery, build_recogniser_of(config, tensors, recoverable, "recogniser."))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"the model in {folder} does not fit its config.yaml: {error}") from error
    return model.eval().requires_grad_(False).to(device), config


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration that a model was trained with.

    Raises:
        UserError: the folder is no model's, or its ``config.yaml`` is damaged.
    """
    with _readable(folder):
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise UserError(f"the model in {folder} is damaged: {CONFIG} holds no configuration")
    return config


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no trained model: {error.filename} is missing") from error
    except (SafetensorError, yaml.YAMLError, json.JSONDecodeError) as error:
        raise UserError(f"the model in {folder} is damaged: {error}") from error

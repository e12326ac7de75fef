"""A trained model on disk: ``model.safetensors``, ``config.yaml`` and ``shape.json`` in one folder, whole or not at
all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from imer_ray.config import build
from imer_ray.errors import UserError
from imer_ray.models.imer import Imer, build_encoder, build_recogniser
from imer_ray.models.recovery import build_recovery
from imer_ray.training.encode import weights


def save(folder: Path, model: Imer, config: Mapping[str, Any], shape: Mapping[str, Any]) -> None:
    """Write a model so that `load` builds it again; an older folder of the same name is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_file(weights(model), aside / "model.safetensors")
        (aside / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
        (aside / "shape.json").write_text(json.dumps(dict(shape)))
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
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        shape = json.loads((folder / "shape.json").read_text())
        tensors = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no trained model: {error.filename} is missing") from error
    except (SafetensorError, yaml.YAMLError, json.JSONDecodeError) as error:
        raise UserError(f"the model in {folder} is damaged: {error}") from error
    recovers = any(name.startswith("recovery.") for name in tensors)
    encoder = build_encoder(config, shape["dims"], shape["lengths"])
    num_frames = build(config["encoder"]).length(min(shape["lengths"].values()))
    recovery = build_recovery(config, num_frames) if recovers else None
    model = Imer(encoder, recovery, build_recogniser(config, with_refiners=recovers))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"the model in {folder} does not fit its config.yaml: {error}") from error
    return model.eval().requires_grad_(False).to(device), config

"""A trained model on disk: ``model.safetensors``, ``config.yaml`` and ``shape.json`` in one folder, whole or not at
all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from imer_ray.config import plugins
from imer_ray.config.components import Component, resolve_component
from imer_ray.config.experiment import ExperimentConfig, ModelConfig
from imer_ray.config.resolve import resolve, tree_of, typed
from imer_ray.data.dataset import Statistics
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.evaluation.outline import check_fit, untrained
from imer_ray.models.mixture import MixtureRecogniser
from imer_ray.models.model import EmotionModel
from imer_ray.models.parts import Parts
from imer_ray.received import check_file, read_json, read_yaml, shown
from imer_ray.training.checkpoint import weights

WEIGHTS, CONFIG, SHAPE = "model.safetensors", "config.yaml", "shape.json"
STATISTICS = "statistics"  # in shape.json
ADVICE = "get the folder again, evaluate it with the version that wrote it, or train the model again"
# More than any model of ours has: of the weights, of shape.json, and of one dimension.
MAX_BYTES, MAX_SHAPE_BYTES, MAX_SIZE = 2**32, 2**24, 100_000


def save(
    folder: Path, model: EmotionModel, config: ModelConfig, shape: Mapping[str, Any], statistics: Statistics
) -> None:
    """Write a model so that `load` builds it again; an older folder of the same name is replaced.

    ``statistics`` are those of its training clips.
    """
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    aside.mkdir(parents=True)  # with the permissions that the user gives new folders
    shape = {**shape, STATISTICS: {m: [x.tolist() for x in both] for m, both in statistics.items()}}
    try:
        save_file(weights(model), aside / WEIGHTS)
        (aside / CONFIG).write_text(yaml.safe_dump(written(config), sort_keys=False), encoding="utf-8")
        (aside / SHAPE).write_text(json.dumps(shape), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load(folder: Path, device: str = "cpu") -> tuple[EmotionModel, ModelConfig]:
    """The model of a folder and its configuration.

    Nothing is built before the weights' own shapes have said how large it may be.

    Raises:
        UserError: the folder is no model's, or a file in it is damaged or does not fit the others.
    """
    config, shape, path = read_config(folder), read_shape(folder), weights_file(folder)
    parts = Parts.of(config)
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        kinds = check_fit(parts, shape, shapes)
        tensors = load_file(path)
    except UserError as error:
        raise UserError(f"{path} does not fit {CONFIG} and {SHAPE}: {error}; {ADVICE}") from error
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}; {ADVICE}") from error
    for name, tensor in tensors.items():
        if tensor.dtype != kinds[name]:
            raise UserError(f"{path}: {shown(name)} holds {tensor.dtype} instead of {kinds[name]}; {ADVICE}")
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path}: {shown(name)} holds numbers that are not finite; {ADVICE}")
    model = untrained(parts, shape, tensors)
    model.load_state_dict(tensors)
    if isinstance(model.recogniser, MixtureRecogniser) and not model.recogniser.is_mixture():
        raise UserError(f"{path}: the mixture's weights and covariances are no mixture's; {ADVICE}")
    return model.eval().requires_grad_(False).to(device), config


def read_config(folder: Path) -> ModelConfig:
    """The configuration that a model was trained with, resolved: what older versions did not know has its default.

    Raises:
        UserError: the folder is no model's, its ``config.yaml`` is damaged, or it asks for what cannot be built.
    """
    with _present(folder):
        tree = read_yaml(folder / CONFIG)
    if not isinstance(tree, dict):
        raise UserError(f"{folder / CONFIG} holds no configuration; {ADVICE}")
    plugins.require(tree.get("plugins"), f"the model in {folder}")
    imputer = tree.pop("imputer", None)  # the system's choice, which no command takes
    try:
        config = typed(resolve(tree), ExperimentConfig)
        node = None if imputer is None else resolve_component(imputer, "imputer", "imputer")
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {error}; {ADVICE}") from error
    return ModelConfig(**vars(config), imputer=None if node is None else Component.of(node))


def written(config: ExperimentConfig) -> dict[str, Any]:
    """The tree of a model's configuration, with an imputer only where there is one."""
    return {name: node for name, node in tree_of(config).items() if name != "imputer" or node is not None}


def weights_file(folder: Path) -> Path:
    """Where a model's weights are.

    Raises:
        UserError: there is no ordinary file, or one too large for a model.
    """
    path = folder / WEIGHTS
    with _present(folder):
        check_file(path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(f"{path} has {size:,} bytes, and no model has more than {MAX_BYTES:,}; {ADVICE}")
    return path


def read_shape(folder: Path) -> dict[str, Any]:
    """``dims``, ``lengths``, ``recoverable``, ... of the data that a model was trained on, as
    `imer_ray.tasks.encode` wrote them.

    Raises:
        UserError: the folder is no model's, or its ``shape.json`` is damaged.
    """
    with _present(folder):
        shape = read_json(folder / SHAPE, MAX_SHAPE_BYTES)
    # Older models do not say what is recoverable, and knew nothing else.
    shape = {"recoverable": list(MODALITIES), **shape} if isinstance(shape, dict) else {}
    sized = all(_are_sizes(shape.get(key)) for key in ("dims", "lengths"))
    if not sized or not isinstance(names := shape["recoverable"], list) or not all(m in MODALITIES for m in names):
        raise UserError(
            f"{folder / SHAPE} is damaged: it must give dims and lengths of {', '.join(MODALITIES)} as whole numbers, "
            f"and which of these are recoverable; {ADVICE}"
        )
    return shape


def read_statistics(folder: Path) -> Statistics | None:
    """The statistics of the clips that a model was trained on; None if it was saved before they were kept.

    Raises:
        UserError: the folder is no model's, or its ``shape.json`` is damaged.
    """
    shape = read_shape(folder)
    if STATISTICS not in shape:
        return None
    try:
        kept = {m: torch.tensor(shape[STATISTICS][m], dtype=torch.float64) for m in MODALITIES}
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, RecursionError):
        kept = {}
    sound = all(
        m in kept and kept[m].shape == (2, dim) and bool(kept[m].isfinite().all() and (kept[m][1] > 0).all())
        for m, dim in shape["dims"].items()
    )
    if not sound:
        raise UserError(
            f"{folder / SHAPE} is damaged: its {STATISTICS} must give a mean and a deviation above 0 of each feature; "
            f"{ADVICE}"
        )
    return {m: (kept[m][0], kept[m][1]) for m in MODALITIES}


def _are_sizes(given: Any) -> bool:
    sizes = list(given.values()) if isinstance(given, dict) and given.keys() == set(MODALITIES) else [None]
    return all(type(size) is int and 1 <= size <= MAX_SIZE for size in sizes)


@contextlib.contextmanager
def _present(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no trained model: {error.filename} is missing") from error

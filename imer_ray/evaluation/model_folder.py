"""A trained model on disk, in a folder that is whole or not there, and opens on a machine without the data.

``model.safetensors`` has the weights, ``config.yaml`` what it was trained with, ``shape.json`` what it reads and how
raw features are standardised, ``config.json`` the checksums (`imer_ray.evaluation.model_manifest`). Beside them lie
``validation.safetensors`` (`imer_ray.evaluation.validation_file`), ``README.md``, ``metrics.csv`` and ``history.json``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
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
from imer_ray.data.label_scale import LABEL_LIMITS
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.evaluation.model_manifest import (
    ADVICE,
    MAX_FILE_BYTES,
    check_files,
    describe,
    file_of,
    read_manifest,
    write_manifest,
)
from imer_ray.evaluation.outline import check_fit, untrained
from imer_ray.files import beside, disk_errors, replace_folder
from imer_ray.models.frame_mixture import FrameMixture
from imer_ray.models.mixture import MixtureRecogniser
from imer_ray.models.model import EmotionModel
from imer_ray.models.parts import Parts
from imer_ray.received import is_plain, read_json, read_yaml, shown
from imer_ray.training.checkpoint import weights

WEIGHTS, CONFIG, SHAPE = "model.safetensors", "config.yaml", "shape.json"
STATISTICS = "statistics"  # in shape.json
# More than any model of ours has: of shape.json, and of one dimension.
MAX_SHAPE_BYTES, MAX_SIZE = 2**24, 100_000


def save(
    folder: Path,
    model: EmotionModel,
    config: ModelConfig,
    shape: Mapping[str, Any],
    statistics: Statistics,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model so that `load` builds it again; an older folder of the same name is replaced.

    Args:
        shape: what `read_shape` gives back.
        statistics: of its training clips.
        files: what else belongs into the folder, by name.
    """
    aside = beside(folder)
    shape = {**shape, STATISTICS: {m: [x.tolist() for x in both] for m, both in statistics.items()}}
    with disk_errors(folder):
        aside.mkdir(parents=True)  # with the permissions that the user gives new folders
        try:
            save_file(weights(model), aside / WEIGHTS)
            (aside / CONFIG).write_text(yaml.safe_dump(written(config), sort_keys=False), encoding="utf-8")
            (aside / SHAPE).write_text(json.dumps(shape), encoding="utf-8")
            for name, content in (files or {}).items():
                (aside / name).write_bytes(content)
            write_manifest(aside, describe(config, shape))
            replace_folder(folder, aside)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def load(folder: Path, device: str = "cpu") -> tuple[EmotionModel, ModelConfig]:
    """The model of a folder and its configuration.

    Nothing is built before the weights' own shapes have said how large it may be.

    Raises:
        UserError: the folder is no model's, a file in it is damaged, is not what was written, or does not fit the
            others, or a newer version wrote it.
    """
    with _present(folder):
        check_files(folder)
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
    if isinstance(model.recogniser, MixtureRecogniser | FrameMixture) and not model.recogniser.is_mixture():
        raise UserError(f"{path}: the mixture's weights and covariances are no mixture's; {ADVICE}")
    return model.eval().requires_grad_(False).to(device), config


def read_config(folder: Path) -> ModelConfig:
    """The configuration that a model was trained with, resolved: what older versions did not know has its default.

    Raises:
        UserError: the folder is no model's, its ``config.yaml`` is damaged, or it asks for what cannot be built.
    """
    with _present(folder):
        read_manifest(folder)  # of a newer format, no other file is understood either
        tree = read_yaml(file_of(folder, CONFIG))
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
    with _present(folder):
        path = file_of(folder, WEIGHTS)
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise UserError(f"{path} has {size:,} bytes, and no model has more than {MAX_FILE_BYTES:,}; {ADVICE}")
    return path


def read_shape(folder: Path) -> dict[str, Any]:
    """What a model reads, as it was trained: ``dims``, ``lengths``, ``recoverable`` and ``label_kind`` as
    `imer_ray.tasks.encode` wrote them, ``at_the_end`` (the modalities whose frames lie at the end of a clip's) and
    ``feature_names`` ({m: which features these are, None: not known}).

    Raises:
        UserError: the folder is no model's, or its ``shape.json`` is damaged.
    """
    with _present(folder):
        shape = read_json(file_of(folder, SHAPE), MAX_SHAPE_BYTES)
    # Older models do not say these, and knew nothing else.
    older = {"recoverable": list(MODALITIES), "label_kind": "regression", "at_the_end": [], "feature_names": {}}
    shape = {**older, **shape} if isinstance(shape, dict) else {}
    sized = all(_are_sizes(shape.get(key)) for key in ("dims", "lengths"))
    if not sized or not all(_are_modalities(shape[key]) for key in ("recoverable", "at_the_end")):
        raise UserError(
            f"{folder / SHAPE} is damaged: it must give dims and lengths of {', '.join(MODALITIES)} as whole numbers, "
            f"which of these are recoverable, and whose frames are at_the_end; {ADVICE}"
        )
    names, kind = shape["feature_names"], shape["label_kind"]
    if not isinstance(kind, str) or kind not in LABEL_LIMITS or not _are_names(names):
        raise UserError(
            f"{folder / SHAPE} is damaged: label_kind must be one of {', '.join(LABEL_LIMITS)}, and feature_names "
            f"short texts; {ADVICE}"
        )
    return {**shape, "feature_names": {m: names.get(m) for m in MODALITIES}}


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


def needed_statistics(folder: Path) -> Statistics:
    """As `read_statistics`, where there is nothing to compute them from.

    Raises:
        UserError: as there; or the model was saved before they were kept.
    """
    statistics = read_statistics(folder)
    if statistics is None:
        raise UserError(
            f"the model in {folder} was saved without the statistics of its training clips, by which new clips must be "
            "standardised; train it again"
        )
    return statistics


def _are_sizes(given: Any) -> bool:
    sizes = list(given.values()) if isinstance(given, dict) and given.keys() == set(MODALITIES) else [None]
    return all(type(size) is int and 1 <= size <= MAX_SIZE for size in sizes)


def _are_modalities(given: Any) -> bool:
    return isinstance(given, list) and all(m in MODALITIES for m in given)


def _are_names(given: Any) -> bool:
    texts = [name for name in given.values() if name is not None] if isinstance(given, dict) else [None]
    return all(isinstance(text, str) and is_plain(text) for text in texts)


@contextlib.contextmanager
def _present(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no trained model: {error.filename} is missing") from error

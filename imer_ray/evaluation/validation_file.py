"""``validation.safetensors`` of a model's folder: what it predicted of clips that it did not learn from, and their
labels, which say how sure it may be of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from imer_ray.config.components import build, option
from imer_ray.data.dataset import Dataset
from imer_ray.data.label_scale import LABEL_LIMIT
from imer_ray.data.missing import PATTERNS
from imer_ray.errors import UserError
from imer_ray.evaluation.model_manifest import ADVICE, file_of
from imer_ray.evaluation.predict import Inference, predict_protocol
from imer_ray.models.model import EmotionModel

VALIDATION, LABELS = "validation.safetensors", "labels"
SPLIT = "valid"
MAX_BYTES = 2**28  # of the file: eight million clips


@dataclass(frozen=True)
class Validation:
    """Of N clips.

    Attributes:
        labels: float64 [N], NaN where a clip has none.
        predictions: {pattern: float64 [N]} of all seven, NaN where a clip was recorded without all of the pattern.
    """

    labels: NDArray[np.float64]
    predictions: Mapping[str, NDArray[np.float64]]


def validation_of(model: EmotionModel, dataset: Dataset, inference: Inference, seed: int, device: str) -> bytes:
    """The file's content for a trained model. Compiling is left out: it is for speed, and takes longer than this."""
    eager = replace(inference, compile="none")
    protocol = build(option("protocol", "fixed"))
    tensors = predict_protocol(model, dataset, SPLIT, protocol, eager, seed, device)
    recorded = dataset.recorded(SPLIT)
    whole = {pattern: (recorded | ~mask).all(1) for pattern, mask in PATTERNS.items()}
    kept: dict[str, Tensor] = {p: tensors[p].float().masked_fill(~whole[p], torch.nan) for p in PATTERNS}
    return save({LABELS: dataset.labels(SPLIT).float().contiguous(), **{p: x.contiguous() for p, x in kept.items()}})


def read_validation(folder: Path) -> Validation | None:
    """What `validation_of` wrote into a model's folder; None if there is none, as in folders of older versions.

    Raises:
        UserError: the file is damaged, or no file of this folder.
    """
    try:
        path = file_of(folder, VALIDATION)
    except FileNotFoundError:
        return None
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(f"{path} has {size:,} bytes, and none has more than {MAX_BYTES:,}; {ADVICE}")
    try:
        with safe_open(path, "np") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            kinds = {name: (x.get_dtype(), len(x.get_shape()), *x.get_shape()) for name, x in headers.items()}
            wanted = ("F32", 1, next(iter(kinds.values()), ("", 0, 0))[-1])
            if kinds.keys() != {LABELS, *PATTERNS} or set(kinds.values()) != {wanted} or not wanted[-1]:
                raise ValueError(f"it must hold {LABELS} and {', '.join(PATTERNS)}, as many float32 numbers of each")
            read = {name: file.get_tensor(name).astype(np.float64) for name in kinds}
        if any(np.isinf(values).any() for values in read.values()):
            raise ValueError("it holds numbers that are not finite")
        labels = read.pop(LABELS)
        if (np.abs(labels) > LABEL_LIMIT).any():
            raise ValueError(f"a label is beyond {LABEL_LIMIT:g}")
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())[:200]}; {ADVICE}") from error
    return Validation(labels, read)

"""Predictions by the ONNX graphs in a model's folder: the same call as `imer_ray.evaluation.predict.predictor`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from imer_ray.data.batch import Batch
from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import WEIGHTS
from imer_ray.files import sha256
from imer_ray.runtime.graph_folder import ADVICE, GraphFolder
from imer_ray.runtime.onnx_session import OnnxSession
from imer_ray.runtime.pattern_session import PatternSession

FOLDER = "onnx"  # of the graphs, in a seed's folder
MAX_NOISE = 2**24  # numbers of a call: 64 MB


def graphs_of(folder: Path, runtime: str) -> GraphFolder | None:
    """The graphs that a model is to be run by, or None where PyTorch is to run it.

    Args:
        folder: of one seed.
        runtime: "eager": never; "onnx": always; "auto": where there are graphs of these weights.

    Raises:
        UserError: there are no graphs and there must be, they are of other weights, or the folder is damaged.
    """
    if runtime == "eager":
        return None
    try:
        graphs = GraphFolder(folder / FOLDER)
    except FileNotFoundError as error:
        if runtime == "auto":
            return None
        raise UserError(
            f"runtime=onnx: {folder} has no graphs; python -m imer_ray.export model={folder} format=onnx writes them"
        ) from error
    if graphs.source != sha256(folder / WEIGHTS):
        if runtime == "auto":
            return None
        raise UserError(f"runtime=onnx: the graphs in {graphs.folder} are of other weights than the model's; {ADVICE}")
    return graphs


def onnx_predictor(graphs: GraphFolder, pattern: str, seed: int) -> Callable[[Batch], NDArray[np.float32]]:
    """``predict(batch) -> [B]`` for clips of which the modalities of ``pattern`` are available.

    It computes with as many threads as PyTorch is told to.

    Raises:
        UserError: the graph is damaged, or is none.
    """
    any_clips, for_one = graphs.content(pattern), graphs.content_for_one(pattern)
    name, num_threads = str(graphs.folder / f"{pattern}.onnx"), torch.get_num_threads()
    session = PatternSession(
        OnnxSession(any_clips, name, num_threads),
        None if for_one is None else OnnxSession(for_one, f"{name} for one clip", num_threads),
        graphs.shape(pattern),
        seed,
    )
    size = max(1, MAX_NOISE // max(1, math.prod(session.shape.noise)))

    def predict(batch: Batch) -> NDArray[np.float32]:
        if len(batch) <= size:
            return session(batch)
        parts = torch.arange(len(batch)).split(size)
        return np.concatenate([session(batch.select(rows)) for rows in parts])

    return predict

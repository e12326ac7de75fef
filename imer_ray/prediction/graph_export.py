"""Write the graphs of a trained model into its folder: ``onnx/`` for ONNX Runtime, ``torch/`` for torch.export.load."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imer_ray.config.resolve import tree_of
from imer_ray.data.missing import PATTERNS
from imer_ray.errors import UserError
from imer_ray.evaluation.model_collection import models_in
from imer_ray.evaluation.model_folder import WEIGHTS, load, needed_statistics, read_shape
from imer_ray.evaluation.predict import Inference
from imer_ray.files import sha256
from imer_ray.models.pattern_model import PatternModel
from imer_ray.runtime.graph_folder import FOR_ONE, About, GraphWriter
from imer_ray.runtime.noise_graph import noise_graph
from imer_ray.runtime.onnx_graph import OPSET, OnnxGraph, need, tensors_of
from imer_ray.runtime.onnx_session import OnnxSession
from imer_ray.runtime.pattern_graph import (
    GraphShape,
    PatternGraph,
    example,
    exported,
    quiet,
    shape_of,
)

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
# Of a prediction, or of its size where that is above 1. Rounding makes 1e-6, and 1e-4 where IMDer's U-Net enlarges it;
# what is off by more is another graph.
TOLERANCE = 1e-3
CHECKED_CLIPS = 5
Say = Callable[[str], None]


def export_graphs(folder: Path, kind: str, say: Say = print) -> list[Path]:
    """Write one graph a pattern for every seed of a model; the folders that were written.

    A graph is written when its predictions of random clips are those of the model. Seeds that differ in weights alone
    share what the exporter works out, which is most of the time.

    Args:
        folder: of one seed's model, or with those of several.
        kind: "onnx" or "torch".
        say: is given a line for each graph.

    Raises:
        UserError: there is no model, a component of it has no graph, or a package is missing.
    """
    if kind == "onnx":
        need("onnx", "onnxscript", "onnxruntime")
    known: dict[str, OnnxGraph] = {}
    return [_export(one, kind, known, say) for one in models_in(folder)]


@dataclass(frozen=True)
class _Structure:
    """All that the operations of a graph depend on."""

    pattern: str
    config: Mapping[str, Any]
    recoverable: tuple[str, ...]
    sizes: Mapping[str, tuple[int, ...]]

    @property
    def key(self) -> str:
        return json.dumps(vars(self), sort_keys=True, default=str)


def _export(folder: Path, kind: str, known: dict[str, OnnxGraph], say: Say) -> Path:
    model, config = load(folder)
    shape, statistics, inference = read_shape(folder), needed_statistics(folder), Inference.of_model(config)
    client = resources.files("imer_ray.runtime") / "client.py"
    about = About(
        seed=config.seed,
        source=sha256(folder / WEIGHTS),
        label_kind=shape["label_kind"],
        at_the_end=frozenset(shape.get("at_the_end", ())),
    )
    settings = {name: value for name, value in tree_of(config).items() if name not in ("seed", "data")}
    with GraphWriter(folder / kind, about, statistics, ENDINGS[kind]) as writer:
        for number, pattern in enumerate(PATTERNS, start=1):
            ready = PatternModel(model, pattern, inference.sampler, inference.num_steps, inference.num_draws).eval()
            inputs, graph = shape_of(ready, shape["dims"], shape["lengths"]), PatternGraph(ready)
            for_one, noise, told = None, None, ""
            if kind == "onnx":
                sizes = {name: tuple(tensor.shape) for name, tensor in tensors_of(graph).items()}
                key = _Structure(pattern, settings, tuple(shape["recoverable"]), sizes).key
                if key not in known:
                    known[key] = OnnxGraph(exported(ready, inputs), inputs.inputs)
                content, for_one = known[key].filled(graph), known[key].filled(graph, for_one=True)
                difference = max(_difference(graph, inputs, content), _difference_for_one(graph, inputs, for_one))
                if difference > TOLERANCE:
                    raise UserError(
                        f"the graph of {folder} for {pattern} does not predict what the model does (it differs by "
                        f"{difference:.2g}), so that nothing was written; use runtime=eager"
                    )
                told = f", differs from PyTorch by {difference:.0e}"
                noise = noise_graph(inputs, config.seed) if inputs.noise else None
            else:
                content = _program(ready, inputs)
            writer.add(inputs, content, for_one, noise)
            say(f"{folder / kind}: {pattern} ({number} of {len(PATTERNS)}), {len(content) / 1e6:.1f} MB{told}")
        if kind == "onnx":
            writer.finish(OPSET, client.read_text(encoding="utf-8"))
        else:
            writer.finish()
    return folder / kind


def _difference(graph: PatternGraph, shape: GraphShape, content: bytes) -> float:
    """The largest difference between predictions of a graph and of the model on random clips, relative above 1."""
    inputs = example(shape, CHECKED_CLIPS)
    return _distance(OnnxSession(content, f"{shape.pattern}.onnx")(_named(shape, inputs)), graph, inputs)


def _difference_for_one(graph: PatternGraph, shape: GraphShape, content: bytes) -> float:
    """As `_difference`, of the graph for single clips and whole ones."""
    features, frames, *noise = example(shape, CHECKED_CLIPS)
    inputs = features, {m: torch.ones_like(there) for m, there in frames.items()}, *noise
    session, named = OnnxSession(content, f"{shape.pattern}_{FOR_ONE}.onnx"), _named(shape, inputs)
    one_by_one = [{name: named[name][i : i + 1] for name in session.inputs} for i in range(CHECKED_CLIPS)]
    return _distance(np.concatenate([session(one) for one in one_by_one]), graph, inputs)


def _named(shape: GraphShape, inputs: tuple[Any, ...]) -> dict[str, NDArray[Any]]:
    flat = (x.numpy() for part in inputs for x in (part.values() if isinstance(part, dict) else (part,)))
    return dict(zip(shape.inputs, flat, strict=True))


def _distance(found: NDArray[np.float32], graph: PatternGraph, inputs: tuple[Any, ...]) -> float:
    with torch.no_grad():
        expected = graph(*inputs).numpy()
    difference = float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())
    return difference if difference == difference else float("inf")


def _program(model: PatternModel, shape: GraphShape) -> bytes:
    """A file for `torch.export.load`, without the names of this machine's files."""
    program, file = exported(model, shape), io.BytesIO()
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with quiet():
        torch.export.save(program, file)
    return file.getvalue()

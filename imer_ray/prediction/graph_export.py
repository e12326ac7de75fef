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
from imer_ray.prediction.graph_check import Answers, exactness
from imer_ray.runtime.graph_folder import FOR_ONE, About, GraphWriter
from imer_ray.runtime.noise_graph import noise_graph
from imer_ray.runtime.onnx_graph import OPSET, OnnxGraph, need, tensors_of
from imer_ray.runtime.onnx_session import OnnxSession
from imer_ray.runtime.pattern_graph import GraphShape, PatternGraph, exported, quiet, shape_of

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
Say = Callable[[str], None]


def export_graphs(folder: Path, kind: str, say: Say = print) -> list[Path]:
    """Write one graph a pattern for every seed of a model; the folders that were written.

    A graph is written when its predictions of random clips are those of the model (`imer_ray.prediction.graph_check`),
    and its folder says how exact it is. Seeds that differ in weights alone
    share what the exporter works out, which is most of the time.

    Args:
        folder: of one seed's model, or with those of several.
        kind: "onnx" or "torch".
        say: is given a line for each graph.

    Raises:
        UserError: there is no model, a component of it has no graph, a graph predicts something else, or a package is
            missing.
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
            for_one = noise = None
            if kind == "onnx":
                sizes = {name: tuple(tensor.shape) for name, tensor in tensors_of(graph).items()}
                key = _Structure(pattern, settings, tuple(shape["recoverable"]), sizes).key
                if key not in known:
                    known[key] = OnnxGraph(exported(ready, inputs), inputs.inputs)
                content, for_one = known[key].filled(graph), known[key].filled(graph, for_one=True)
                noise = noise_graph(inputs, config.seed) if inputs.noise else None
                found = [
                    exactness(graph, inputs, _onnx_answers(inputs, content)),
                    exactness(graph, inputs, _onnx_answers(inputs, for_one, for_one=True), is_whole=True),
                ]
            else:
                program = exported(ready, inputs)
                content, found = _file(program), [exactness(graph, inputs, _program_answers(program))]
            for one in found:
                if not one.is_the_models:
                    raise UserError(
                        f"the graph of {folder} for {pattern} does not predict what the model does (it {one}), so that "
                        "nothing was written; use runtime=eager"
                    )
            furthest = max(found, key=lambda one: one.from_eager)
            writer.add(inputs, content, furthest._asdict(), for_one, noise)
            size = f"{len(content) / 1e6:.1f} MB"
            say(f"{folder / kind}: {pattern} ({number} of {len(PATTERNS)}), {size}, {furthest}")
        if kind == "onnx":
            writer.finish(OPSET, client.read_text(encoding="utf-8"))
        else:
            writer.finish()
    return folder / kind


def _onnx_answers(shape: GraphShape, content: bytes, for_one: bool = False) -> Answers:
    """What a file's graph answers to; that for single clips one after another."""
    name = f"{shape.pattern}_{FOR_ONE}.onnx" if for_one else f"{shape.pattern}.onnx"
    session = OnnxSession(content, name)

    def answers(given: tuple[Any, ...]) -> NDArray[np.float32]:
        flat = (x.numpy() for part in given for x in (part.values() if isinstance(part, dict) else (part,)))
        named = dict(zip(shape.inputs, flat, strict=True))
        if not for_one:
            return session(named)
        count = len(next(iter(named.values())))
        return np.concatenate(
            [session({name: named[name][i : i + 1] for name in session.inputs}) for i in range(count)]
        )

    return answers


def _program_answers(program: torch.export.ExportedProgram) -> Answers:
    module = program.module()

    def answers(given: tuple[Any, ...]) -> NDArray[np.float32]:
        with torch.no_grad():
            return module(*given).numpy()

    return answers


def _file(program: torch.export.ExportedProgram) -> bytes:
    """For `torch.export.load`, without the names of this machine's files."""
    file = io.BytesIO()
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with quiet():
        torch.export.save(program, file)
    return file.getvalue()

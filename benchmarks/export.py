"""What graphs cost a search: ``python benchmarks/export.py [configurations=12] [frames=8]``.

Untrained models on synthetic clips, one thread, CPU time; time does not depend on the weights' values. Measured are:

- ``export_s``: seconds a graph, over the seven patterns of the default network with one DDIM step, and ``loop_s``: of
  one pattern with IMDer's network and sampler, whose 100 steps are a loop in the graph
- ``reference_s``: seconds to make IMDer's graphs, once a process
- ``eager_s`` and ``onnx_s``: median seconds of a cost stage's work over the configurations, by what computes
- ``tau_batch1`` and ``tau_batch32``: Kendall's tau between the latencies that PyTorch and ONNX Runtime measure

Prints a table, and one JSON line at the end.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from scipy.stats import kendalltau

import imer_ray
from imer_ray.config.experiment import ExperimentConfig, ModelConfig
from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import MODALITIES, PATTERNS
from imer_ray.evaluation.cost import measure
from imer_ray.evaluation.predict import Inference
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.models.pattern_model import PatternModel
from imer_ray.models.recovery import build_filling
from imer_ray.models.threads import threads
from imer_ray.runtime.onnx_graph import OnnxGraph
from imer_ray.runtime.pattern_graph import PatternGraph, exported, shape_of

DEFAULT = ("diffusion.sampler=ddim", "diffusion.num_steps=1")
IMDER = ("diffusion.backbone=imder_unet", "diffusion.sampler=euler_maruyama", "diffusion.num_steps=100")
BACKBONES = ("transformer", "mixer", "dit", "concat")
STEPS = (1, 4, 2)
DIMS = (32, 16)


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    count, frames = int(options.pop("configurations", 12)), int(options.pop("frames", 8))
    if options:
        sys.exit(f"error: unknown option {next(iter(options))}; give configurations=NUMBER or frames=NUMBER")
    data = f"data.num_frames={frames}"
    with threads(1):
        found = {"export_s": _export((*DEFAULT, data), list(PATTERNS)), "loop_s": _export((*IMDER, data), ["av"])}
        chosen = list(itertools.product(DIMS, STEPS, BACKBONES))[:count]
        costs = [
            _cost((f"encoder.latent_dim={D}", f"diffusion.backbone={backbone}", f"diffusion.num_steps={N}", data))
            for D, N, backbone in chosen
        ]
    print(f"{'D':>4}{'steps':>6}  {'backbone':12}" + "".join(f"{name:>16}" for name in costs[0]))
    for (D, N, backbone), cost in zip(chosen, costs, strict=True):
        print(f"{D:4}{N:6}  {backbone:12}" + "".join(f"{value:16.3f}" for value in cost.values()))
    found["reference_s"] = costs[0]["onnx_first_s"] - costs[0]["onnx_s"]
    found |= {name: statistics.median(cost[name] for cost in costs) for name in ("eager_s", "onnx_s")}
    for size in (1, 32):
        sides = [[cost[f"{runtime}_{size}_ms"] for cost in costs] for runtime in ("eager", "onnx")]
        found[f"tau_batch{size}"] = float(kendalltau(*sides).statistic)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


def _untrained(words: Sequence[str]) -> tuple[EmotionModel, Dataset, ExperimentConfig]:
    config = imer_ray.compose(*words)
    dataset, parts = config.data.build().load(), Parts.of(ModelConfig(**vars(config), imputer=None))
    encoder = build_encoder(parts.encoder, dataset.dims, dataset.lengths)
    filling = build_filling(parts, parts.encoder.length(min(dataset.lengths.values())), MODALITIES)
    recogniser = build_recogniser(parts.encoder.latent_dim, parts.fusion, parts.refiner)
    return EmotionModel(encoder, filling, recogniser).eval().requires_grad_(False), dataset, config


def _export(words: Sequence[str], patterns: Sequence[str]) -> float:
    """Seconds a graph."""
    model, dataset, config = _untrained(words)
    sampler, num_steps = config.diffusion.sampler.build(), config.diffusion.num_steps
    start = time.process_time()
    for pattern in patterns:
        ready = PatternModel(model, pattern, sampler, num_steps)
        shape = shape_of(ready, dataset.dims, dataset.lengths)
        OnnxGraph(exported(ready, shape), shape.inputs).filled(PatternGraph(ready))
    return (time.process_time() - start) / len(patterns)


def _cost(words: Sequence[str]) -> dict[str, float]:
    """Latencies, and seconds of measuring them, by each runtime; the first time IMDer's graphs may have to be made."""
    model, dataset, config = _untrained((*words, "diffusion.sampler=ddim"))
    inference, found = Inference.of(config, config.diffusion), dict[str, float]()
    for name, runtime in (("eager", "eager"), ("onnx_first", "onnx"), ("onnx", "onnx")):
        start = time.process_time()
        given: Any = (inference, replace(config.speed, runtime=runtime), config.seed, "cpu")
        cost = measure(model, dataset, "test", *given)
        found[f"{name}_s"] = time.process_time() - start
        if name == runtime:
            found |= {f"{name}_1_ms": cost["latency_ms_b1"], f"{name}_32_ms": cost["latency_ms"]}
    return found


if __name__ == "__main__":
    with torch.no_grad():
        main()

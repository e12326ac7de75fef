"""How fast a GPU is, part of ``gpu.py``: picks beside IMDer, trainings, and two stages on one GPU."""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from gpu_report import Check
from inference import random_batch, untrained

from imer_ray.config.commands import ScalingConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import resolve, typed
from imer_ray.data.mmsa_synthetic import MmsaShape
from imer_ray.evaluation.predict import Inference, predictor
from imer_ray.evaluation.timing.speedup import reference_config, reference_for
from imer_ray.evaluation.timing.stopwatch import timed
from imer_ray.models.compiled import NUM_WARM_UPS
from imer_ray.scaling.cluster import session
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import Place, run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph

SHAPE = MmsaShape()  # MOSI's
MOSI = tuple(f"data.{name}={getattr(SHAPE, name)}" for name in ("num_frames", "dim_l", "dim_a", "dim_v"))
MIXTURE = ("diffusion.prior=mixture", "diffusion.backbone=none", "refiner=none")
# Without a search of one's own: what the one in docs/results.md picked, and the network that searches start from.
PICKS = {
    "quality": (*MIXTURE, "diffusion.sampler=ddim", "diffusion.num_steps=1", "diffusion.num_draws=8"),
    "knee": (*MIXTURE, "diffusion.sampler=dpmpp_2m", "diffusion.num_steps=1"),
    "speed": ("diffusion.prior=none", "diffusion.backbone=none", "refiner=none"),
    "network": (),
}
EXPORTED = ("quality", "knee", "speed")
AVAILABLE = "av"
SIZES = (1, 32)
MODES = {
    "eager": {},
    "bf16": {"precision": "bf16"},
    "reduce-overhead": {"compile": "reduce-overhead"},
}
REPEATS = 5
TRAINED = ("encode", "pretrain", "recognise")
SHORT = ("speed.max_repeats=1", "speed.reference_steps=1", "bank.num_steps=2")
SHARE = 0.5  # of a GPU, that each of two stages holds


def of_picks(device: str, run: Path | None) -> dict[str, Check]:
    """``pick mode batch`` -> milliseconds of a prediction, and how many times as fast it is as IMDer in fp32, eager."""
    checks: dict[str, Check] = {}
    for mode, changes in MODES.items():
        if "compile" in changes and device == "cpu":
            continue  # CUDA graphs are a GPU's
        for pick in PICKS if run is None else (*EXPORTED, "network"):
            for size in SIZES:
                checks[f"{pick} {mode} batch {size}"] = functools.partial(_pick, pick, run, changes, size, device)
    return checks


def _config(pick: str, run: Path | None) -> ExperimentConfig:
    if run is None or pick not in EXPORTED:
        return compose(ExperimentConfig, "experiment", list(PICKS[pick]))
    tree = yaml.safe_load((run / "export" / f"{pick}.yaml").read_text(encoding="utf-8"))["config"]
    return typed(resolve(tree), ExperimentConfig)


def _pick(pick: str, run: Path | None, changes: Mapping[str, str], size: int, device: str) -> dict[str, Any]:
    config = replace(_config(pick, run), **{"precision": "fp32", "compile": "none", **changes})
    lengths = SHAPE.lengths(aligned=True)
    model = untrained(config, SHAPE.dims, lengths).to(device)
    reference = reference_for(SHAPE.dims, lengths, device)
    published = replace(reference_config(config), precision="fp32", compile="none")
    batch = random_batch(size, SHAPE.dims, lengths).to(device)
    ours, theirs = (
        functools.partial(predictor(network, Inference.of(of, of.diffusion), AVAILABLE, seed=0), batch)
        for network, of in ((model, config), (reference, published))
    )
    torch.compiler.reset()  # PyTorch compiles a function for eight models at most
    start = time.perf_counter()
    for _ in range(NUM_WARM_UPS):
        ours()
    first, turns = time.perf_counter() - start, []
    for _ in range(REPEATS):
        turns.append((timed(theirs, device), timed(ours, device)))
    imder, own = (statistics.median(side) for side in zip(*turns, strict=True))
    ratios = [a / b for a, b in turns]
    return {
        "ms": 1e3 * own,
        "imder_ms": 1e3 * imder,
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "first_calls_s": first,
    }


def of_trainings(device: str, num_train: int) -> dict[str, Check]:
    """One check: clips a second of each kind of training at MOSI's shape, and seconds of all stages."""
    return {"clips a second": functools.partial(_trainings, device, num_train)}


def _trainings(device: str, num_train: int) -> dict[str, Any]:
    """From the end of a training's first epoch to that of its last."""
    epochs = {kind: 4 for kind in TRAINED}
    words = [f"training.{kind}.num_epochs={count}" for kind, count in epochs.items()]
    rest = ["data.num_valid=32", "data.num_test=32", f"data.num_train={num_train}", "diffusion.num_steps=2"]
    final = graph(compose(ExperimentConfig, "experiment", [*MOSI, *SHORT, *words, *rest]), "valid")
    reported: dict[str, list[tuple[int, float]]] = {}

    def report(stage: Stage, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
        reported.setdefault(stage.name, []).append((epoch, time.perf_counter()))
        return True

    with tempfile.TemporaryDirectory(prefix="imer_ray.gpu.") as folder:
        results = run_graph(final, Store(folder), report, Place(device=device))
    found: dict[str, Any] = {"seconds": {result.name: round(result.seconds, 3) for result in results}}
    for name in ("encode", "pretrain[l]", "recognise"):
        (first, begun), (last, ended) = reported[name][0], reported[name][-1]
        found[name] = num_train * (last - first) / (ended - begun)
    return found


def of_sharing(device: str, num_epochs: int, num_train: int) -> dict[str, Check]:
    """One check: two stages on one GPU, by the broker of a search."""
    return {"two stages": functools.partial(_sharing, device, num_epochs, num_train)}


def _sharing(device: str, num_epochs: int, num_train: int) -> dict[str, Any]:
    """Seconds of one stage with half of a GPU (or a CPU), and of two at once, in processes that have run one before."""
    scaling = ScalingConfig(num_workers=0, train_stages=(), gpus_per_stage=0 if device == "cpu" else SHARE)

    def stage(seed: int, count: int) -> Stage:
        words = [f"seed={seed}", f"training.encode.num_epochs={count}", f"data.num_train={num_train}"]
        words += ["data.num_valid=32", "data.num_test=32"]
        order = graph(compose(ExperimentConfig, "experiment", [*MOSI, *words]), "valid").in_order()
        return next(found for found in order if found.kind == "encode")

    with (
        tempfile.TemporaryDirectory(prefix="imer_ray.gpu.") as folder,
        session(str(Path(folder) / "stages"), scaling, slots=2) as broker,
        ThreadPoolExecutor(2) as pool,
    ):

        def seconds(*stages: Stage) -> float:
            start = time.perf_counter()
            for asked in [pool.submit(broker.compute, found, "benchmark") for found in stages]:
                asked.result()
            return time.perf_counter() - start

        first = seconds(stage(1, 1), stage(2, 1))
        one, two = seconds(stage(3, num_epochs)), seconds(stage(4, num_epochs), stage(5, num_epochs))
    return {"first_two_s": first, "one_s": one, "two_s": two, "gain": 2 * one / two}

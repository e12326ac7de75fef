"""Whether every kind of stage gives on a GPU what it gives on the CPU, and goes on there where it was stopped; part of
``gpu.py``.

Small runs of all systems are computed on the CPU. Each kind of stage of each is computed on the GPU from the CPU's
inputs, so that a difference is the stage's own; trainings once more, stopped after their first step and resumed from
the checkpoint. Random numbers are drawn on the CPU, whatever stages ask for.
"""

from __future__ import annotations

import pkgutil
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from gpu_equality import precise, relative
from gpu_report import Check, judged
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

import imer_ray.systems
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.errors import StageStopped
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import load_function, run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import TIMED, graph
from imer_ray.testing.systems import SMALL, TRAININGS

# Batches of 21 of 64 clips: three steps and one of a single clip, between which a training can be stopped.
WORDS = (
    *SMALL,
    "training.distill.num_epochs=1",
    *(f"training.{name}.batch_size=21" for name in (*TRAININGS, "distill")),
)
# Beside each system as it is: what has further stages, or other networks in them. These go first.
VARIANTS = {
    "decoupled reflow": ("system=decoupled", "diffusion.prior=gaussian", "distill.method=reflow"),
    "rohydr shared": ("system=rohydr", "diffusion.sharing=shared", "diffusion.backbone=dit"),
    "imder": (
        *("system=imder", "diffusion.sde=imder_ve", "diffusion.parametrization=score"),
        *("diffusion.backbone=imder_unet", "diffusion.sampler=euler_maruyama"),
    ),
    "autoencoder": ("system=autoencoder",),
    "mixture": ("system=mixture",),
    "decoupled consistency": (
        *("system=decoupled", "diffusion.prior=mixture", "distill.method=consistency"),
        *("diffusion.backbone=mixer", "fusion=mult", "bank.folds=2"),
    ),
}
LOSSES = ("train_loss", "valid_loss")
# Adam divides a gradient by its size, so that one that is nothing but rounding moves a weight by the learning rate,
# 3e-3, at each of four steps, and the other device's the other way. Of numbers above 1 it is relative.
OF_WEIGHTS = 2 * 4 * 3e-3
OF_LOSSES = 1e-3
FACTORIES = (torch.randn, torch.rand, torch.randint, torch.randperm)


def configurations() -> dict[str, tuple[str, ...]]:
    """Name -> words of a small run; every system is there."""
    names = [m.name for m in pkgutil.iter_modules(imer_ray.systems.__path__) if not m.name.startswith("_")]
    covered = {words[0] for words in VARIANTS.values()}
    rest = {name: (word,) for name in names if (word := f"system={name}") not in covered}
    return {**VARIANTS, **rest}


def chosen(words: tuple[str, ...]) -> tuple[Stage, list[Stage]]:
    """The last stage of a small run, and the first of each kind."""
    final = graph(compose(ExperimentConfig, "experiment", [*WORDS, *words]), "valid")
    return final, list({stage.kind: stage for stage in reversed(list(final.in_order()))}.values())[::-1]


def of_stages(device: str, folder: Path) -> dict[str, Check]:
    """``configuration: kind`` -> the stage beside the CPU's, and resumed beside undisturbed.

    Args:
        folder: for artefacts, which all configurations share.
    """
    store, checks, seen = Store(str(folder)), dict[str, Check](), set[str]()
    for name, words in configurations().items():
        final, stages = chosen(words)
        for stage in stages:
            if stage.key not in seen:
                seen.add(stage.key)
                checks[f"{name}: {stage.kind}"] = precise(_stage, final, stage, store, device)
    return checks


class HostNoise(TorchFunctionMode):
    """Within the block, random numbers that a generator elsewhere is asked for come from one of the same seed on the
    CPU."""

    def __init__(self, elsewhere: Callable[[torch.Generator], bool] = lambda g: g.device.type != "cpu") -> None:
        super().__init__()
        self._elsewhere = elsewhere
        self._twins: dict[int, tuple[torch.Generator, int, torch.Generator]] = {}  # held, so that no number comes twice

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = dict(kwargs or {})
        asked = kwargs.get("generator")
        if asked is None or not self._elsewhere(asked):
            return func(*args, **kwargs)
        kwargs["generator"] = self._twin(asked)
        if func in FACTORIES:
            where = kwargs.pop("device", asked.device)
            return func(*args, **kwargs, device="cpu").to(where)
        if func.__name__.endswith("_"):
            return args[0].copy_(func(torch.empty_like(args[0], device="cpu"), *args[1:], **kwargs))
        return func(*(a.cpu() if isinstance(a, Tensor) else a for a in args), **kwargs).to(asked.device)

    def _twin(self, generator: torch.Generator) -> torch.Generator:
        seed = generator.initial_seed()
        held = self._twins.get(id(generator))
        if held is None or held[1] != seed:
            held = generator, seed, torch.Generator().manual_seed(seed)
            self._twins[id(generator)] = held
        return held[2]


def _stage(final: Stage, stage: Stage, store: Store, device: str) -> dict[str, Any]:
    run_graph(final, store)  # what is there already is found
    inputs = {role: store.open(source.key).folder for role, source in stage.inputs.items()}
    with tempfile.TemporaryDirectory(prefix="imer_ray.gpu.") as name, HostNoise():
        whole, again = Path(name) / "whole", Path(name) / "again"
        metrics = _run(stage, inputs, whole, device)
        result: dict[str, Any] = {"ok": True}
        if stage.kind == TIMED:
            return result  # of which it is enough that it ends
        there = store.open(stage.key)
        result = _compared(_tensors(there.folder), there.metrics, _tensors(whole), metrics)
        if _interrupt(stage, inputs, again, device):
            resumed = _run(stage, inputs, again, device)
            result["resumed"] = _compared(_tensors(whole), metrics, _tensors(again), resumed)
            result["ok"] = result["ok"] and result["resumed"]["ok"]
    return result


def _run(
    stage: Stage, inputs: Mapping[str, Path], folder: Path, device: str, leaving: Callable[[], bool] = lambda: False
) -> Mapping[str, float]:
    """Compute a stage; its files and its checkpoint are in ``folder``."""
    out, checkpoint = folder / "files", folder / "checkpoint"
    shutil.rmtree(out, ignore_errors=True)
    for path in (out, checkpoint):
        path.mkdir(parents=True, exist_ok=True)
    context = Context(folder=out, inputs=inputs, checkpoint=checkpoint, device=device, leaving=leaving)
    return load_function(stage.function)(stage.settings, context)


def _interrupt(stage: Stage, inputs: Mapping[str, Path], folder: Path, device: str) -> bool:
    """Compute a stage until its first step is done, as where a machine is taken away; whether it could be stopped."""
    try:
        _run(stage, inputs, folder, device, leaving=lambda: True)
    except StageStopped:
        return True
    return False


def _tensors(folder: Path) -> dict[str, Tensor]:
    paths: Iterator[Path] = folder.rglob("*.safetensors")
    files = {path.name: load_file(path) for path in paths if "checkpoint" not in path.parts}
    return {f"{name} {key}": tensor for name, of_file in files.items() for key, tensor in of_file.items()}


def _compared(
    ours: Mapping[str, Tensor],
    our_metrics: Mapping[str, float],
    theirs: Mapping[str, Tensor],
    metrics: Mapping[str, float],
) -> dict[str, Any]:
    """The worst difference of the tensors of two results, with its name, and the relative one of their losses."""
    if ours.keys() != theirs.keys():
        return {"ok": False, "error": f"other tensors: {sorted(ours.keys() ^ theirs.keys())[:4]}"}
    worst = max(((relative(ours[key], theirs[key], least=1.0), key) for key in ours), default=(0.0, ""))
    losses = [abs(metrics[key] - our_metrics[key]) / abs(our_metrics[key]) for key in LOSSES if key in our_metrics]
    found = {**judged(worst[0], OF_WEIGHTS), "worst": worst[1], "losses": max(losses, default=0.0)}
    return {**found, "ok": found["ok"] and found["losses"] <= OF_LOSSES}

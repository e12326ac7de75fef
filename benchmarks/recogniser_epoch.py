"""An epoch of our recogniser beside IMDer's: ``python benchmarks/recogniser_epoch.py [frames=48] [key=value ...]``.

One process, one CPU thread, MOSI's shape: 1,284 training clips of 48 latent frames and 32 features, missing rate 0.7
(as IMDer realises it: every clip lacks two modalities, 0.667 of the slots). Ours is the stage `recognise` with its
bank, as configured by default (other words are settings: ``fusion=mult``), once more with IMDer's batch size of 32;
whole epochs are timed, their checkpoint included. IMDer's is the stage `joint` with its published networks and 100
Euler-Maruyama steps in every batch of 32, all clips of a batch with the same pattern; some batches are timed, without
checkpoints, and scaled to the clips of an epoch. Neither validates. Values are random: time does not depend on them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file

from imer_ray.config import compose
from imer_ray.errors import StageStopped
from imer_ray.models.imer import build_recogniser
from imer_ray.schema import ExperimentConfig
from imer_ray.training import checkpoint, joint, recognise
from imer_ray.training.bank import ENTRIES
from imer_ray.training.context import Context
from imer_ray.training.encode import weights
from imer_ray.training.latents import Latents
from imer_ray.training.loop import seeded
from imer_ray.training.timing import reference_config, threads

NUM_CLIPS = 1284  # of MOSI's training split
FRAMES = 48
IMDER_BATCH = 32
OUR_EPOCHS, IMDER_BATCHES = 3, 2  # timed, after one for warming up


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    frames = int(options.pop("frames", FRAMES))
    config = compose(ExperimentConfig, "experiment", [f"{key}={value}" for key, value in options.items()])
    own_batch = config["training"]["recognise"]["batch_size"]
    ours, theirs = {}, []
    with threads(1), tempfile.TemporaryDirectory() as folder:
        for size in dict.fromkeys((own_batch, IMDER_BATCH)):
            ours[size] = _our_epochs(config, size, frames, Path(folder) / f"ours-{size}")
        theirs = _imder_batches(config, frames, Path(folder) / "imder")
        ours[own_batch] += _our_epochs(config, own_batch, frames, Path(folder) / "ours-again")
    epoch = statistics.median(theirs) * NUM_CLIPS / IMDER_BATCH
    print(f"{'one epoch, missing rate 0.7':34}{'batch':>6}{'seconds':>10}{'min':>10}{'max':>10}{'ratio':>9}")
    scale = NUM_CLIPS / IMDER_BATCH
    _row("imder, joint (scaled)", IMDER_BATCH, [seconds * scale for seconds in theirs], epoch)
    for size, seconds in ours.items():
        _row(f"{config['system']}, recognise", size, seconds, epoch)
    print(json.dumps({"epoch_ratio": round(epoch / statistics.median(ours[own_batch]), 1)}))


def _row(name: str, batch_size: int, seconds: list[float], epoch: float) -> None:
    middle = statistics.median(seconds)
    print(f"{name:34}{batch_size:6}{middle:10.2f}{min(seconds):10.2f}{max(seconds):10.2f}{epoch / middle:9.1f}")


def _our_epochs(config: dict[str, Any], batch_size: int, frames: int, folder: Path) -> list[float]:
    config = _with_loop(config, "recognise", batch_size, OUR_EPOCHS)
    context = _inputs(config, NUM_CLIPS, frames, folder)
    with mock.patch.object(recognise, "training_patterns", _two_missing):
        return _timed_epochs(recognise.run, config, context)


def _imder_batches(config: dict[str, Any], frames: int, folder: Path) -> list[float]:
    """Seconds of batches of IMDer's training: epochs of a data set of one batch."""
    config = _with_loop(reference_config(config), "joint", IMDER_BATCH, IMDER_BATCHES)
    context = _inputs(config, IMDER_BATCH, frames, folder)
    pattern = functools.partial(_two_missing, shared=True)
    with mock.patch.object(joint, "training_patterns", pattern), mock.patch.object(checkpoint, "save"):
        return _timed_epochs(joint.run, config, context)


def _with_loop(config: dict[str, Any], stage: str, batch_size: int, epochs: int) -> dict[str, Any]:
    """One epoch more for warming up, and a last one that is never begun, because it would be validated."""
    loop = {**config["training"][stage], "batch_size": batch_size, "num_epochs": epochs + 2, "patience": 0}
    return {**config, "training": {**config["training"], stage: loop}}


def _timed_epochs(run: Any, config: dict[str, Any], context: Context) -> list[float]:
    """Seconds between the ends of a stage's epochs."""
    ends = []

    def report(epoch: int, num_epochs: int, metrics: Any) -> bool:
        ends.append(time.perf_counter())
        return epoch + 1 < num_epochs

    with contextlib.suppress(StageStopped):
        run(config, dataclasses.replace(context, report=report))
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]


def _two_missing(recorded: torch.Tensor, generator: torch.Generator, shared: bool = False) -> torch.Tensor:
    """Available modalities [B, M]: one, of each clip or ``shared`` by all clips of the batch."""
    kept = torch.randint(recorded.shape[1], (1 if shared else len(recorded),), generator=generator)
    return (torch.arange(recorded.shape[1]) == kept[:, None]) & recorded


def _inputs(config: dict[str, Any], num_clips: int, frames: int, folder: Path) -> Context:
    """What the stage reads: the artefacts of `encode` and `bank`, made of random numbers."""
    generator, dim = seeded(0, "latents"), config["encoder"]["latent_dim"]
    encode, bank = folder / "encode", folder / "bank"
    for part in (encode, bank, folder / "out", folder / "checkpoint"):
        part.mkdir(parents=True)
    for split, count in (("train", num_clips), ("valid", 2)):
        Latents(
            x=torch.randn(count, 3, frames, dim, generator=generator),
            frames=torch.ones(count, 3, frames, dtype=torch.bool),
            recorded=torch.ones(count, 3, dtype=torch.bool),
            labels=torch.randn(count, generator=generator),
        ).save(encode / f"latents_{split}.safetensors")
        recovered = torch.randn(1, len(ENTRIES), count, frames, dim, generator=generator).half()
        save_file({"recovered": recovered}, bank / f"bank_{split}.safetensors")
    torch.manual_seed(0)
    save_file(weights(build_recogniser(config, with_refiners=False)), encode / "recogniser.safetensors")
    lengths = dict.fromkeys("lav", frames)
    shape = {"dims": dict.fromkeys("lav", dim), "lengths": lengths, "label_kind": "regression"}
    (encode / "shape.json").write_text(json.dumps(shape))
    return Context(folder=folder / "out", inputs={"encode": encode, "bank": bank}, checkpoint=folder / "checkpoint")


if __name__ == "__main__":
    main()

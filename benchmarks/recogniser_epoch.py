"""An epoch of our recogniser beside IMDer's: ``python benchmarks/recogniser_epoch.py [frames=48] [key=value ...]``.

One process, one CPU thread, MOSI's shape: 1,284 training clips of 48 latent frames and 32 features, missing rate 0.7
(as IMDer realises it: every clip lacks two modalities, 0.667 of the slots). Ours is the stage `recognise` with its
bank, as configured by default (other words are settings: ``fusion=mult``), once more with IMDer's batch size of 32;
whole epochs are timed, their checkpoint included. IMDer's is the stage `joint` with its published networks and 100
Euler-Maruyama steps in every batch of 32, all clips of a batch with the same pattern; some batches are timed, without
checkpoints, and scaled to the clips of an epoch. Neither validates. Values are random: time does not depend on them.

The ratio is of the process's CPU seconds, which on a free machine are the wall's and on a busy one do not count the
others' work; the wall's are printed beside them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from safetensors.torch import save_file

from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Joint, Recognise
from imer_ray.errors import StageStopped
from imer_ray.evaluation.timing.speedup import reference_config
from imer_ray.models.model import build_recogniser
from imer_ray.models.threads import threads
from imer_ray.stages.context import Context
from imer_ray.tasks import joint, recognise
from imer_ray.training import checkpoint, readings
from imer_ray.training.checkpoint import weights
from imer_ray.training.latent_bank import ENTRIES
from imer_ray.training.latents import Latents
from imer_ray.training.seeding import seeded

NUM_CLIPS = 1284  # of MOSI's training split
FRAMES = 48
IMDER_BATCH = 32
OUR_EPOCHS, IMDER_BATCHES = 3, 2  # timed, after one for warming up


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    frames = int(options.pop("frames", FRAMES))
    words = [f"{key}={value}" for key, value in options.items()]
    config = compose(ExperimentConfig, "experiment", words)
    own_batch = config.training.recognise.batch_size
    ours: dict[int, list[Seconds]] = {}
    with threads(1), tempfile.TemporaryDirectory() as folder:
        for size in dict.fromkeys((own_batch, IMDER_BATCH)):
            ours[size] = _our_epochs(config, size, frames, Path(folder) / f"ours-{size}")
        theirs = _imder_batches(config, frames, Path(folder) / "imder")
        ours[own_batch] += _our_epochs(config, own_batch, frames, Path(folder) / "ours-again")
    scaled = [Seconds(*(value * NUM_CLIPS / IMDER_BATCH for value in seconds)) for seconds in theirs]
    epoch = statistics.median(seconds.cpu for seconds in scaled)
    print(f"{'one epoch, missing rate 0.7':30}{'batch':>6}{'CPU s':>9}{'min':>9}{'max':>9}{'ratio':>8}{'wall s':>9}")
    _row("imder, joint (scaled)", IMDER_BATCH, scaled, epoch)
    ratios = {size: _row(f"{config.system}, recognise", size, found, epoch) for size, found in ours.items()}
    print(json.dumps({"epoch_ratio": round(ratios[own_batch], 1)}))


class Seconds(NamedTuple):
    cpu: float
    wall: float


def _row(name: str, batch_size: int, seconds: list[Seconds], epoch: float) -> float:
    """Print a line and return how much longer IMDer's ``epoch`` takes."""
    cpu, wall = ([one[i] for one in seconds] for i in range(2))
    ratio = epoch / statistics.median(cpu)
    spread = f"{statistics.median(cpu):9.2f}{min(cpu):9.2f}{max(cpu):9.2f}"
    print(f"{name:30}{batch_size:6}{spread}{ratio:8.1f}{statistics.median(wall):9.2f}")
    return ratio


def _our_epochs(config: ExperimentConfig, batch_size: int, frames: int, folder: Path) -> list[Seconds]:
    config = _with_loop(config, "recognise", batch_size, OUR_EPOCHS)
    context = _inputs(config, NUM_CLIPS, frames, folder)
    with mock.patch.object(readings, "training_patterns", _two_missing):
        read = Recognise.of(config, refiner=config.refiner, recovery=config.loss.recovery)
        return _timed_epochs(recognise.run, read.tree, context)


def _imder_batches(config: ExperimentConfig, frames: int, folder: Path) -> list[Seconds]:
    """Times of batches of IMDer's training: epochs of a data set of one batch."""
    config = _with_loop(reference_config(config), "joint", IMDER_BATCH, IMDER_BATCHES)
    context = _inputs(config, IMDER_BATCH, frames, folder)
    pattern = functools.partial(_two_missing, shared=True)
    with mock.patch.object(readings, "training_patterns", pattern), mock.patch.object(checkpoint, "save"):
        return _timed_epochs(joint.run, Joint.of(config).tree, context)


def _with_loop(config: ExperimentConfig, stage: str, batch_size: int, epochs: int) -> ExperimentConfig:
    """One epoch more for warming up, and a last one that is never begun, because it would be validated."""
    loop = dataclasses.replace(
        getattr(config.training, stage), batch_size=batch_size, num_epochs=epochs + 2, patience=0
    )
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **{stage: loop}))


def _timed_epochs(run: Any, settings: dict[str, Any], context: Context) -> list[Seconds]:
    """Times between the ends of a stage's epochs."""
    ends: list[Seconds] = []

    def report(epoch: int, num_epochs: int, metrics: Any) -> bool:
        ends.append(Seconds(time.process_time(), time.perf_counter()))
        return epoch + 1 < num_epochs

    with contextlib.suppress(StageStopped):
        run(settings, dataclasses.replace(context, report=report))
    return [Seconds(b.cpu - a.cpu, b.wall - a.wall) for a, b in itertools.pairwise(ends)]


def _two_missing(
    recorded: torch.Tensor, generator: torch.Generator, complete: bool = True, *, shared: bool = False
) -> torch.Tensor:
    """Available modalities [B, M]: one, of each clip or ``shared`` by all clips of the batch."""
    kept = torch.randint(recorded.shape[1], (1 if shared else len(recorded),), generator=generator)
    return (torch.arange(recorded.shape[1]) == kept[:, None]) & recorded


def _inputs(config: ExperimentConfig, num_clips: int, frames: int, folder: Path) -> Context:
    """What the stage reads: the artefacts of `encode` and `bank`, made of random numbers."""
    generator, dim = seeded(0, "latents"), config.encoder.build().latent_dim
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
    save_file(weights(build_recogniser(dim, config.fusion.build())), encode / "recogniser.safetensors")
    lengths = dict.fromkeys("lav", frames)
    shape = {"dims": dict.fromkeys("lav", dim), "lengths": lengths, "label_kind": "regression"}
    shape["recoverable"] = list("lav")
    (encode / "shape.json").write_text(json.dumps(shape), encoding="utf-8")
    return Context(folder=folder / "out", inputs={"encode": encode, "bank": bank}, checkpoint=folder / "checkpoint")


if __name__ == "__main__":
    main()

"""What two training workers gain over one: ``python benchmarks/scaling.py [rounds=2] [stages=encode,pretrain,recognise]
[epochs=8] [key=value ...]``.

The same global batch, one CPU thread a worker, two of which are a group of Ray Train (gloo), on synthetic clips of
aligned MOSI's length, with more features than the small default so that there is something to compute. An epoch's time
is the median time between the checkpoints of two epochs that follow one another, so that neither the start of a worker
group nor loading, encoding and validation count; the least of ``rounds``, one and two workers in turn. Of each kind of
stage, ``ddp_efficiency`` is the time with one worker over twice the time with two (1: twice as fast),
``max_loss_difference`` the largest difference of an epoch's training loss, which is to be below 1e-4. Sums in another
order round otherwise, and what a training makes of that grows from epoch to epoch: all differences are printed.

Needs two free cores. Other words are settings of the experiment (``training.encode.batch_size=512``).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import ray

from imer_ray.config.commands import ScalingConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.scaling.broker import start_broker
from imer_ray.scaling.cluster import start
from imer_ray.stages.graph import Stage
from imer_ray.stages.store import Store
from imer_ray.systems import graph

SETTINGS = {
    "data.num_train": "2048",
    "data.num_frames": "50",
    "data.dim_l": "300",
    "data.dim_a": "74",
    "data.dim_v": "35",
    "diffusion.sharing": "shared",  # one pretraining, of all modalities
    **{f"training.{kind}.batch_size": "256" for kind in ("encode", "pretrain", "recognise")},
}
WORKERS = (1, 2)


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    rounds, num_epochs = int(words.pop("rounds", "2")), int(words.pop("epochs", "8"))
    kinds = words.pop("stages", "encode,pretrain,recognise").split(",")
    settings = {**SETTINGS, **words}
    scaling = ScalingConfig(train_stages=tuple(kinds), num_workers=max(WORKERS))
    found: dict[str, dict[str, float]] = {}
    start(scaling)
    print(f"{'stage':12}{'workers':>8}{'s an epoch':>12}  training loss by epoch")
    with tempfile.TemporaryDirectory() as name:
        for kind in kinds:
            found[kind] = _measure(kind, settings, rounds, num_epochs, scaling, Path(name))
    ray.shutdown()
    print(json.dumps(found))


def _measure(
    kind: str, settings: dict[str, str], rounds: int, num_epochs: int, scaling: ScalingConfig, folder: Path
) -> dict[str, float]:
    """Train a kind of stage by one and by two workers in turn, each in a store of its own."""
    seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    losses: dict[int, list[float]] = {}
    stage = _stage(kind, settings, num_epochs)
    for number in range(rounds):
        for workers in WORKERS:
            store = Store(folder / f"{kind}-{workers}-{number}")
            broker = start_broker(str(store.root), replace(scaling, num_workers=workers, train_stages=(kind,)))
            with Checkpoints(store, stage) as checkpoints:
                for needed in stage.in_order():
                    broker.compute(needed, "benchmark")
            broker.stop()
            seconds[workers].append(checkpoints.seconds_between())
            history = store.open(stage.key).folder / "history.json"
            losses[workers] = [entry["loss"] for entry in json.loads(history.read_text(encoding="utf-8"))]
            print(f"{kind}, {workers} workers: {seconds[workers][-1]:.3f} s an epoch", file=sys.stderr, flush=True)
    for workers in WORKERS:
        curve = " ".join(f"{loss:.5f}" for loss in losses[workers])
        print(f"{kind:12}{workers:8}{min(seconds[workers]):12.3f}  {curve}", flush=True)
    one, two = (min(seconds[workers]) for workers in WORKERS)
    differences = [abs(a - b) for a, b in zip(*losses.values(), strict=True)]
    print(f"{kind:12}{'their difference':>20}  {' '.join(f'{value:.0e}' for value in differences)}", flush=True)
    return {"ddp_efficiency": round(one / (2 * two), 3), "max_loss_difference": max(differences)}


class Checkpoints:
    """When the checkpoints of a stage were written, while the block runs: one after each epoch."""

    def __init__(self, store: Store, stage: Stage) -> None:
        self._folder = store.workspaces.folder(stage.key)
        self._written: dict[str, float] = {}  # file -> when, in seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Checkpoints:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):  # each stays for two epochs
            for path in self._folder.glob("checkpoint-*.json"):
                with contextlib.suppress(FileNotFoundError):
                    self._written.setdefault(path.name, path.stat().st_mtime)

    def seconds_between(self) -> float:
        times = sorted(self._written.values())
        return statistics.median(after - before for before, after in itertools.pairwise(times))


def _stage(kind: str, settings: dict[str, str], num_epochs: int) -> Stage:
    """The stage of this kind with so many epochs; those that it stands on have one."""
    epochs = {f"training.{other}.num_epochs": "1" for other in ("encode", "pretrain", "recognise")}
    words = {**epochs, **settings, f"training.{kind}.num_epochs": str(num_epochs)}
    config = compose(ExperimentConfig, "experiment", [f"{k}={v}" for k, v in words.items()])
    config = replace(config, data_fingerprint=config.data.build().load().fingerprint)
    return next(stage for stage in graph(config, "valid").in_order() if stage.kind == kind)


if __name__ == "__main__":
    main()

"""What two training workers gain over one: ``python benchmarks/scaling.py [rounds=2] [key=value ...]``.

The stage `encode` on Ray Train (gloo, one CPU thread a worker), the same global batch, on synthetic clips of aligned
MOSI's length, with more features than the small default so that there is something to compute. An epoch's time is the
difference between a long and a short training, so that neither the start of a worker group nor loading and encoding
count; the least of ``rounds``, one and two workers in turn. ``ddp_efficiency`` is the time with one worker over twice
the time with two (1: twice as fast), ``max_loss_difference`` the largest difference of an epoch's training loss.

Needs two free cores. Other words are settings of the experiment (``training.encode.batch_size=512``).
"""

from __future__ import annotations

import json
import sys
import tempfile
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
    "training.encode.batch_size": "256",
}
SHORT, LONG = 1, 5  # epochs
WORKERS = (1, 2)


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    rounds = int(words.pop("rounds", "2"))
    settings = {**SETTINGS, **words}
    scaling = ScalingConfig(train_stages=("encode",), num_workers=max(WORKERS))
    epochs: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    losses: dict[int, list[float]] = {}
    start(scaling)
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            for workers in WORKERS:
                store = Path(name) / f"{workers}-{number}"
                broker = start_broker(str(store), replace(scaling, num_workers=workers))
                found = {count: broker.compute(_encode(settings, count), "benchmark") for count in (SHORT, LONG)}
                broker.stop()
                epochs[workers].append((found[LONG].seconds - found[SHORT].seconds) / (LONG - SHORT))
                history = Store(store).open(found[LONG].key).folder / "history.json"
                losses[workers] = [entry["loss"] for entry in json.loads(history.read_text(encoding="utf-8"))]
                print(f"{workers} workers: {epochs[workers][-1]:.3f} s an epoch", file=sys.stderr, flush=True)
    ray.shutdown()
    one, two = (min(epochs[workers]) for workers in WORKERS)
    difference = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    print(f"{'workers':>8}{'s an epoch':>12}  training loss by epoch")
    for workers in WORKERS:
        curve = " ".join(f"{loss:.5f}" for loss in losses[workers])
        print(f"{workers:8}{min(epochs[workers]):12.3f}  {curve}")
    print(json.dumps({"ddp_efficiency": round(one / (2 * two), 3), "max_loss_difference": difference}))


def _encode(settings: dict[str, str], num_epochs: int) -> Stage:
    words = {**settings, "training.encode.num_epochs": str(num_epochs)}
    config = compose(ExperimentConfig, "experiment", [f"{k}={v}" for k, v in words.items()])
    config = replace(config, data_fingerprint=config.data.build().load().fingerprint)
    return next(stage for stage in graph(config, "valid").in_order() if stage.name == "encode")


if __name__ == "__main__":
    main()

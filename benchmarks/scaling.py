"""What two training workers gain over one: ``python benchmarks/scaling.py [rounds=2] [stages=encode,pretrain,recognise]
[epochs=4] [key=value ...]``.

The same global batch, one CPU thread a worker, two of which are a group of Ray Train (gloo), on synthetic clips of
aligned MOSI's length, with more features than the small default so that there is something to compute. An epoch's time
is the difference between a training of 1 + ``epochs`` epochs and one of a single epoch, so that neither the start of a
worker group nor loading, encoding and validation count; the least of ``rounds``, one and two workers in turn. Of each
kind of stage, ``ddp_efficiency`` is the time with one worker over twice the time with two (1: twice as fast),
``max_loss_difference`` the largest difference of an epoch's training loss, which is to be less than 1e-4.

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
from imer_ray.scaling.broker import BrokerHandle, start_broker
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
    rounds, more = int(words.pop("rounds", "2")), int(words.pop("epochs", "4"))
    kinds = words.pop("stages", "encode,pretrain,recognise").split(",")
    settings = {**SETTINGS, **words}
    scaling = ScalingConfig(train_stages=tuple(kinds), num_workers=max(WORKERS))
    found: dict[str, dict[str, float]] = {}
    start(scaling)
    print(f"{'stage':12}{'workers':>8}{'s an epoch':>12}  training loss by epoch")
    with tempfile.TemporaryDirectory() as name:
        for kind in kinds:
            found[kind] = _measure(kind, settings, rounds, more, scaling, Path(name))
    ray.shutdown()
    print(json.dumps(found))


def _measure(
    kind: str, settings: dict[str, str], rounds: int, more: int, scaling: ScalingConfig, folder: Path
) -> dict[str, float]:
    """Train a kind of stage by one and by two workers in turn, each in a store of its own."""
    seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    losses: dict[int, list[float]] = {}
    for number in range(rounds):
        for workers in WORKERS:
            store = folder / f"{kind}-{workers}-{number}"
            broker = start_broker(str(store), replace(scaling, num_workers=workers, train_stages=(kind,)))
            if workers == 1:  # its process is used again, and only the first stage has to import
                _seconds(broker, _stage(kind, {**settings, "seed": "1"}, 1))
            times = {count: _seconds(broker, _stage(kind, settings, count)) for count in (1, 1 + more)}
            broker.stop()
            seconds[workers].append((times[1 + more] - times[1]) / more)
            history = Store(str(store)).open(_stage(kind, settings, 1 + more).key).folder / "history.json"
            losses[workers] = [entry["loss"] for entry in json.loads(history.read_text(encoding="utf-8"))]
            print(f"{kind}, {workers} workers: {seconds[workers][-1]:.3f} s an epoch", file=sys.stderr, flush=True)
    for workers in WORKERS:
        curve = " ".join(f"{loss:.5f}" for loss in losses[workers])
        print(f"{kind:12}{workers:8}{min(seconds[workers]):12.3f}  {curve}", flush=True)
    one, two = (min(seconds[workers]) for workers in WORKERS)
    difference = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    return {"ddp_efficiency": round(one / (2 * two), 3), "max_loss_difference": difference}


def _seconds(broker: BrokerHandle, stage: Stage) -> float:
    return [broker.compute(needed, "benchmark") for needed in stage.in_order()][-1].seconds


def _stage(kind: str, settings: dict[str, str], num_epochs: int) -> Stage:
    """The stage of this kind with so many epochs; those that it stands on have one."""
    epochs = {f"training.{other}.num_epochs": "1" for other in ("encode", "pretrain", "recognise")}
    words = {**epochs, **settings, f"training.{kind}.num_epochs": str(num_epochs)}
    config = compose(ExperimentConfig, "experiment", [f"{k}={v}" for k, v in words.items()])
    config = replace(config, data_fingerprint=config.data.build().load().fingerprint)
    return next(stage for stage in graph(config, "valid").in_order() if stage.kind == kind)


if __name__ == "__main__":
    main()

"""What a trained model does in use: ``python benchmarks/serving.py [model=models/quality] [seconds=10] [ticks=10000]
[hostile=3000]``.

Without ``model`` what the default space's search picks as its knee is trained first (`PICK`: a prior in closed form,
one step), on synthetic clips of which 2,000 are for validation (their intervals' coverage then has a standard deviation
of 0.7 %), and written as graphs. Measured are, in this order:

- ``onnx_batch1_ratio``: CPU time of one clip by the graph over that by PyTorch, and ``onnx_batch32_ratio`` of 32; one
  thread, language missing, median of five alternations
- ``speedup_vs_imder_batch1``: how many times as fast one clip is as by IMDer's networks with their 100 steps, both by
  ONNX Runtime
- ``coverage_<pattern>``: of the 90 % interval, on 20,000 clips that nothing was fitted to (synthetic models only)
- ``stream_p99_ms``: of an answer after each tick, with modalities dropping out at random, and ``stream_difference``:
  the last answer beside that about all frames at once
- ``clips_per_s`` and ``p99_ms``: of the server, by 32 clients that each wait for an answer (closed loop)
- ``failed_on_kill``: requests without an answer while a replica is killed
- ``hostile``: statuses of requests that must be refused, and ``server_growth_mb``: what the server's processes grew by
  in each third of them

Prints one JSON line at the end.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import serving_hostile
import serving_load
import torch

import imer_ray
from imer_ray.config.components import Component, option
from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES, PATTERNS
from imer_ray.data.synthetic import Synthetic
from imer_ray.evaluation.comparison import Trained, open_model
from imer_ray.evaluation.cost import measure
from imer_ray.evaluation.predict import predictor
from imer_ray.evaluation.timing.stopwatch import timed
from imer_ray.export import main as export
from imer_ray.models.threads import threads
from imer_ray.prediction.clip import read_clip
from imer_ray.prediction.onnx_runtime import graphs_of, onnx_predictor
from imer_ray.prediction.predictor import Predictor

PICK = (
    *("diffusion.prior=mixture", "diffusion.backbone=none", "refiner=none", "loss.distillation=5", "bank.mode=same"),
    *("diffusion.sampler=ddim", "diffusion.num_steps=1"),
)
PATTERN = "av"  # where time is measured: language is missing
ALTERNATIONS = 5
NUM_COVERED = 20_000
PORT = 8123
Figures = dict[str, Any]


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    seconds, ticks, hostile = (
        float(options.pop(name, default)) for name, default in (("seconds", 10), ("ticks", 10_000), ("hostile", 3_000))
    )
    given = options.pop("model", None)
    if options:
        sys.exit(f"unknown option: {next(iter(options))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given) if given else trained(Path(temporary))
        export([f"model={folder}", "format=onnx"])
        figures = {**speed(folder), **coverage(folder), **stream(folder, int(ticks))}
        with served(folder) as (url, pid):
            figures |= load(url, pid, seconds) | refused(url, pid, int(hostile))
    print(json.dumps({name: round(value, 5) if isinstance(value, float) else value for name, value in figures.items()}))


def trained(folder: Path) -> Path:
    """`PICK`, trained once."""
    config = imer_ray.compose("data.num_valid=2000", *PICK)
    words = ("baselines=[]", f"stages={folder}/stages", "scaling.train_stages=[]")
    imer_ray.train(config, *words, seeds=[1111], output=folder / "model")
    return folder / "model"


def first_seed(folder: Path) -> Trained:
    seed = Predictor.open(folder, "eager").seeds[0]
    own = folder / str(seed) if (folder / str(seed)).exists() else folder
    return open_model(own, Component.of(option("protocol", "fixed")), {})


def speed(folder: Path) -> Figures:
    one = first_seed(folder)
    graphs = graphs_of(one.folder, "onnx")
    assert graphs is not None
    found: Figures = {}
    with threads(1):
        eager = predictor(one.model, one.inference, PATTERN, one.seed)
        onnx = onnx_predictor(graphs, PATTERN, one.seed)
        for size in (1, 32):
            batch = one.dataset.batch("test", torch.arange(size))
            turns = [(cpu_ms(eager, batch), cpu_ms(onnx, batch)) for _ in range(ALTERNATIONS)]
            found[f"eager_batch{size}_ms"], found[f"onnx_batch{size}_ms"] = (
                statistics.median(side) for side in zip(*turns, strict=True)
            )
            found[f"onnx_batch{size}_ratio"] = statistics.median(graph / torch_ for torch_, graph in turns)
    timing = replace(one.config.speed, runtime="onnx", max_repeats=50, max_seconds=30.0)
    given = (one.config.encoder.build(), one.inference, timing, one.seed, "cpu")
    cost = measure(one.model, one.dataset, "test", *given)
    found["speedup_vs_imder_batch1"] = cost["speedup_vs_imder_b1"]
    found["speedup_vs_imder_batch1_interval"] = [round(cost[f"speedup_b1_{end}"], 1) for end in ("low", "high")]
    return found


def cpu_ms(predict: Callable[[Batch], Any], batch: Batch) -> float:
    """Milliseconds of CPU time; a new batch every time, as what is hashed of one is kept."""
    batches = [replace(batch) for _ in range(21)]
    predict(batches.pop())
    return 1e3 * statistics.median(timed(lambda b=b: predict(b), "cpu", time.thread_time) for b in batches)


def coverage(folder: Path) -> Figures:
    """Share of new clips whose label lies within the interval, for each pattern."""
    model = Predictor.open(folder)
    data = model.config.data.build()
    if not isinstance(data, Synthetic):
        return {}
    part = replace(data, num_test=NUM_COVERED).load().splits["test"]
    labels, rows = part.labels.numpy(), torch.arange(NUM_COVERED)
    raw = {m: part.gather[m](rows).numpy() for m in MODALITIES}
    found = {}
    for pattern in PATTERNS:
        clips = [read_clip({m: raw[m][row] for m in pattern}, model.reads) for row in range(NUM_COVERED)]
        ends = np.array([(one.low, one.high) for one in model.predict(clips)], float)
        found[f"coverage_{pattern}"] = float(((ends[:, 0] <= labels) & (labels <= ends[:, 1])).mean())
    return found


def stream(folder: Path, ticks: int) -> Figures:
    """An answer after every tick of one long clip, in which each modality drops out and comes back at random."""
    model = imer_ray.load_model(folder)
    rng, going = np.random.default_rng(0), model.stream()
    so_far: dict[str, list[Any]] = {m: [] for m in MODALITIES}
    there, milliseconds = dict.fromkeys(MODALITIES, True), []
    with threads(1):
        for _ in range(ticks):
            there = {m: there[m] ^ (rng.random() < 0.05) for m in MODALITIES}
            frames = {m: rng.normal(size=model.reads.dims[m]) if there[m] else None for m in MODALITIES}
            start = time.perf_counter()
            going.push(frames)
            value = going.value
            milliseconds.append(1e3 * (time.perf_counter() - start))
            for m, frame in frames.items():
                so_far[m].append(frame)
        offline = model.predict(so_far)
    return {
        "stream_p50_ms": float(np.percentile(milliseconds, 50)),
        "stream_p99_ms": float(np.percentile(milliseconds, 99)),
        "stream_difference": abs(value - offline.value),
    }


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """A server's address and its process."""
    process = subprocess.Popen([sys.executable, "-m", "imer_ray.serve", f"model={folder}", f"port={PORT}"])
    url = f"http://127.0.0.1:{PORT}"
    try:
        while True:
            try:
                serving_load.described(url)
                break
            except OSError:
                if process.poll() is not None:
                    sys.exit("the server ended")
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def load(url: str, pid: int, seconds: float) -> Figures:
    bodies = serving_load.bodies(serving_load.described(url)["reads"], 70, 0)
    serving_load.closed_loop(url, bodies, seconds=2.0)  # until all is warm
    measured = serving_load.closed_loop(url, bodies, seconds=seconds)
    killed = serving_load.kill_under_load(url, bodies, lambda: os.kill(replicas(pid)[0], signal.SIGKILL))
    return {
        **{name: measured[name] for name in ("clips_per_s", "p50_ms", "p99_ms", "failed")},
        "failed_on_kill": killed["failed"],
        "requests_on_kill": killed["requests"],
    }


def refused(url: str, pid: int, count: int) -> Figures:
    statuses, sizes = collections.Counter[str](), [memory_mb(pid)]
    for third in range(3):
        statuses.update(serving_hostile.hostile(url, count // 3, third))
        sizes.append(memory_mb(pid))
    growth = [round(after - before, 1) for before, after in itertools.pairwise(sizes)]
    return {"hostile": dict(statuses), "server_growth_mb": growth}


def replicas(pid: int) -> list[int]:
    """The processes of replicas that a server's Ray started."""
    return [one for one in below(pid) if b"ServeReplica" in Path(f"/proc/{one}/cmdline").read_bytes()]


def memory_mb(pid: int) -> float:
    """Private memory of a server and its replicas."""
    total = 0
    for one in (pid, *replicas(pid)):
        lines = Path(f"/proc/{one}/status").read_text(encoding="utf-8").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return total / 1024


def below(pid: int) -> list[int]:
    """All processes that descend from one."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, left = [], [pid]
    while left:
        found += (own := children.get(left.pop(), []))
        left += own
    return found


if __name__ == "__main__":
    main()

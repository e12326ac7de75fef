"""Whether compilation pays: ``python benchmarks/compilation.py [mode=default]``; ten minutes, most of them compiling.

One CPU thread, `predict` with language missing and two DDIM steps, as written and compiled in turn: medians of the CPU
milliseconds and of the pairwise ratios, and the seconds that the first calls took. Weights are random. Measured on two
cores that others used as well (ratios differ by 0.1 from run to run, compiling by a factor of five):

    backbone     frames  batch   as written  compiled  ratio  compiling
    transformer       8     32      17.7 ms   17.4 ms   1.01      152 s
    transformer       8      1       6.4 ms    6.0 ms   1.04      141 s
    transformer      48     32      68.7 ms   56.6 ms   1.19       40 s
    transformer      48      1      12.0 ms   10.9 ms   1.10       26 s
    mixer             8     32      16.6 ms   15.0 ms   1.14       25 s
    mixer             8      1       9.4 ms    8.4 ms   1.07       29 s
    mixer            48     32      43.5 ms   33.1 ms   1.30       34 s
    mixer            48      1       8.9 ms    6.6 ms   1.12       29 s

So on a CPU it saves a sixth to a quarter of the time on long sequences in batches, and little elsewhere; a minute or
more of compiling is earned back by a service, not by a search. That is why ``compile`` is none unless set.
"""

from __future__ import annotations

import copy
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from inference import random_batch, untrained

from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.evaluation.predict import Inference, predictor
from imer_ray.models.threads import threads

AVAILABLE = "av"
MIN_SECONDS = 0.05
REPEATS = 9
SIZES = (32, 1)


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    mode = options.pop("mode", "default")
    if options:
        sys.exit(f"error: unknown option {next(iter(options))}; give mode=default or max-autotune-no-cudagraphs")
    ratios = {}
    print("backbone     frames  batch   as written  compiled  ratio  compiling")
    with threads(1), torch.no_grad():
        for backbone in ("transformer", "mixer"):
            for frames in (8, 48):
                ratios |= _measure(backbone, frames, mode)
    print(json.dumps(ratios))


def _measure(backbone: str, frames: int, mode: str) -> dict[str, float]:
    settings = [f"diffusion.backbone={backbone}", "diffusion.sampler=ddim", "diffusion.num_steps=2"]
    config = compose(ExperimentConfig, "experiment", settings)
    dims = config.data.build().load().dims
    lengths = dict.fromkeys(dims, frames)
    model, inference = untrained(config, dims, lengths), Inference.of(config, config.diffusion)
    other = copy.deepcopy(model)
    ratios = {}
    for size in SIZES:
        batch = random_batch(size, dims, lengths)
        written = functools.partial(predictor(model, inference, AVAILABLE, seed=0), batch)
        compiled = functools.partial(predictor(other, replace(inference, compile=mode), AVAILABLE, seed=0), batch)
        start = time.perf_counter()
        compiled()
        seconds = time.perf_counter() - start
        pairs = [(_cpu_ms(written), _cpu_ms(compiled)) for _ in range(REPEATS)]
        a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(x / y for x, y in pairs)
        print(f"{backbone:12}{frames:7}{size:7}{a:10.1f} ms{b:7.1f} ms{ratio:7.2f}{seconds:9.0f} s", flush=True)
        ratios[f"{backbone}_{frames}_batch{size}"] = round(ratio, 2)
    return ratios


def _cpu_ms(call: Callable[[], object]) -> float:
    """CPU milliseconds of a call, so that other work on the machine counts less."""
    count, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < MIN_SECONDS:
        call()
        count += 1
    return 1e3 * elapsed / count


if __name__ == "__main__":
    main()

"""Time exported picks beside the IMDer reference: ``python benchmarks/inference.py [run=runs/demo] [frames=48]``.

One process, one CPU thread, batch 32 and batch 1, one modality missing (language) and two (language and vision). The
reference runs all of its 100 Euler-Maruyama steps, refiner, fusion and head; reference and pick are timed in turn and
the median of the pairwise ratios is printed with its range. Weights are untrained: time does not depend on their
values. ``frames`` sets the number of frames of every modality (default: that of the picks' data; MOSI's published
shape is 48 latent frames).
"""

from __future__ import annotations

import functools
import json
import statistics
import sys
from pathlib import Path

import torch
import yaml

from imer_ray.config import build, resolve
from imer_ray.data.batch import Batch
from imer_ray.models.imer import Imer, build_encoder, build_recogniser
from imer_ray.models.recovery import build_recovery
from imer_ray.training.evaluate import predictor
from imer_ray.training.loop import seeded
from imer_ray.training.stopwatch import threads, timed
from imer_ray.training.timing import reference_config, reference_for

PICKS = ("quality", "speed")
AVAILABLE = {"one": torch.tensor([False, True, True]), "two": torch.tensor([False, True, False])}
REPEATS = 5


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    run = Path(options.pop("run", "runs/demo"))
    frames = options.pop("frames", None)
    if options:
        sys.exit(f"error: unknown option {next(iter(options))}; give run=FOLDER or frames=NUMBER")
    missing = [str(p) for p in (run / "export" / f"{pick}.yaml" for pick in PICKS) if not p.exists()]
    if missing:
        sys.exit(f"error: {missing[0]} does not exist; run python -m imer_ray.search first")
    ratios: dict[str, list[float]] = {}
    with threads(1), torch.no_grad():
        for pick in PICKS:
            config = resolve(yaml.safe_load((run / "export" / f"{pick}.yaml").read_text())["config"])
            ratios |= _measure(pick, config, int(frames) if frames else None)
    print(f"{'':24}{'ratio':>10}{'min':>10}{'max':>10}")
    for name, values in ratios.items():
        print(f"{name:24}{statistics.median(values):10.1f}{min(values):10.1f}{max(values):10.1f}")
    print(json.dumps({name: round(statistics.median(values), 2) for name, values in ratios.items()}))


def _measure(pick: str, config: dict, frames: int | None) -> dict[str, list[float]]:
    dataset = build(config["data"]).load()
    lengths = dict.fromkeys(dataset.dims, frames) if frames else dict(dataset.lengths)
    model = untrained(config, dataset.dims, lengths)
    reference = reference_for(config, dataset.dims, lengths, "cpu")
    as_published = {**reference_config(config), "precision": "fp32", "compile": "none"}
    ratios: dict[str, list[float]] = {}
    for size, suffix in ((32, ""), (1, "_batch1")):
        batch = random_batch(size, dataset.dims, lengths)
        for missing, pattern in AVAILABLE.items():
            available = pattern.expand(size, -1)
            ours = functools.partial(predictor(model, config, seeded(0, "ours")), batch, available)
            theirs = functools.partial(predictor(reference, as_published, seeded(0, "theirs")), batch, available)
            ours()
            ratios[f"{pick}_{missing}_missing{suffix}"] = [timed(theirs) / timed(ours) for _ in range(REPEATS)]
    return ratios


def untrained(config: dict, dims: dict, lengths: dict) -> Imer:
    torch.manual_seed(0)
    num_frames = build(config["encoder"]).length(min(lengths.values()))
    recovery = build_recovery(config, num_frames)
    model = Imer(build_encoder(config, dims, lengths), recovery, build_recogniser(config, with_refiners=True))
    return model.eval().requires_grad_(False)


def random_batch(size: int, dims: dict, lengths: dict) -> Batch:
    generator = seeded(0, "features")
    return Batch(
        features={m: torch.randn(size, lengths[m], dims[m], generator=generator) for m in dims},
        frames={m: torch.ones(size, lengths[m], dtype=torch.bool) for m in dims},
        recorded=torch.ones(size, len(dims), dtype=torch.bool),
        labels=torch.zeros(size),
        index=torch.arange(size),
    )


if __name__ == "__main__":
    main()

"""Every system in four worlds, one table: ``python benchmarks/systems.py clips=clips.parquet``.

The worlds: synthetic clips, the same warped, and CMU-MOSI's utterance features in the table's own split by speakers and
in the official one. Of each system its Non0_acc_2 in percent, mean of the incomplete patterns, over seeds with the 95 %
interval; where the optimum is known, the share of the gap between zero-filling and it that is closed; and the paired
difference to `masked`, with an interval over seeds and clips (`imer_ray.evaluation.significance.paired_half_width`).
All systems are scored on the same clips.

Options: ``systems=``, ``worlds=plain,warped,speaker,official``, ``seeds=1111,1112``, ``clips=FILE`` (CMU-MOSI's table
of clips; without it the synthetic worlds alone), ``num_test=1000`` (of the synthetic worlds: IMDer takes 0.4 s of a
core a clip), ``stages=FOLDER`` (default ``runs/stages``; what is there is used), ``processes=N`` (default: one a core),
``compute=no`` (of what is there alone), ``figure=FILE.png``. Prints the table in Markdown and, last, one line of JSON.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from recovery import SPLIT, WORLDS, configuration, pool_of
from systems_figure import draw

from imer_ray.config.commands import SEEDS
from imer_ray.evaluation.bayes_optimum import bayes_optimum
from imer_ray.evaluation.score import score
from imer_ray.evaluation.scored_clips import read_predictions
from imer_ray.evaluation.significance import Floats, half_width, jackknife, paired_half_width
from imer_ray.evaluation.tables import ZERO
from imer_ray.files import write_whole
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.latents import load_dataset

MASKED = "masked"
FAMILIES = {
    "no recovery": (ZERO, "mean", MASKED, "student"),
    "without diffusion": ("regression", "autoencoder", "flow_transfer", "mixture"),
    "diffusion on a prior": ("gaussian", "prior", "prior_network"),
    "diffusion": ("decoupled", "rohydr", "imder"),
}
# IMDer samples in every training batch: three epochs are what two cores afford.
LESS = {"imder": ("training.joint.batch_size=64", "training.joint.num_epochs=3")}
# The synthetic rows' teacher and longer training harm on few real clips (see docs/results.md).
REAL = ("data=mosi_utterance", "loss.distillation=0", "training.recognise.num_epochs=8")
SPLITS = {"speaker": (), "official": ("data.split=official",)}
METRIC = f"{SPLIT}.Non0_acc_2"
Key = tuple[str, str, int]  # world, system, seed


@dataclass(frozen=True)
class Scored:
    """Percent Non0 accuracy, mean of the incomplete patterns: of all test clips, and without each group of them."""

    accuracy: float
    replicates: Floats


@dataclass(frozen=True)
class Cell:
    """A system in a world. Widths are half of the 95 % interval's; NaN is what cannot be said, as of a single seed.

    The gap is None where the optimum is not known.
    """

    seeds: int
    accuracy: float
    half_width: float
    gap_closed: float | None
    difference: float
    difference_half_width: float


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    clips, num_test = options.get("clips"), options.get("num_test", "1000")
    worlds = {name: (*settings, f"data.num_test={num_test}") for name, settings in WORLDS.items()}
    if clips is not None:
        worlds |= {name: (*REAL, f"data.path={clips}", *split) for name, split in SPLITS.items()}
    everything = ",".join(system for systems in FAMILIES.values() for system in systems)
    systems = options.get("systems", everything).split(",")
    chosen = options.get("worlds", ",".join(worlds)).split(",")
    seeds = [int(seed) for seed in options.get("seeds", ",".join(map(str, SEEDS))).split(",")]
    jobs = [(world, system, seed) for seed in seeds for system in systems for world in chosen]
    scored = functools.partial(_scored, worlds, options.get("stages", "runs/stages"), options.get("compute") != "no")
    found: dict[Key, Scored] = {}
    with pool_of(options.get("processes")) as pool:
        for number, (job, one) in enumerate(zip(jobs, pool.map(scored, jobs), strict=True), start=1):
            if one is not None:
                found[job] = one
            print(f"{number} of {len(jobs)} runs", file=sys.stderr, flush=True)
    optima = {world: optimum for world in chosen if (optimum := _optimum(worlds[world], seeds[0])) is not None}
    table = cells(found, optima)
    print(markdown(table, optima))
    if "figure" in options:
        write_whole(Path(options["figure"]), draw(table, optima, FAMILIES, MASKED))
    print(json.dumps({system: {world: _json(cell) for world, cell in row.items()} for system, row in table.items()}))


def cells(found: Mapping[Key, Scored], optima: Mapping[str, float]) -> dict[str, dict[str, Cell]]:
    """{system: {world: cell}} of what was scored; pairs are of the seeds that both sides have."""
    by_seed: dict[str, dict[str, dict[int, Scored]]] = {}
    for (world, system, seed), scored in found.items():
        by_seed.setdefault(system, {}).setdefault(world, {})[seed] = scored
    return {
        system: {
            world: _cell(seeds, *(by_seed.get(other, {}).get(world, {}) for other in (MASKED, ZERO)), optima.get(world))
            for world, seeds in worlds.items()
        }
        for system, worlds in by_seed.items()
    }


def _cell(
    ours: Mapping[int, Scored], masked: Mapping[int, Scored], zero: Mapping[int, Scored], optimum: float | None
) -> Cell:
    accuracy = float(np.mean([one.accuracy for one in ours.values()]))
    gaps = [
        (one.accuracy - zero[seed].accuracy, optimum - zero[seed].accuracy)
        for seed, one in ours.items()
        if optimum is not None and seed in zero
    ]
    pairs = [(one, masked[seed]) for seed, one in ours.items() if seed in masked]
    differences = np.array([one.accuracy - other.accuracy for one, other in pairs])
    replicates = np.array([one.replicates - other.replicates for one, other in pairs])
    return Cell(
        seeds=len(ours),
        accuracy=accuracy,
        half_width=half_width([one.accuracy for one in ours.values()]),
        gap_closed=100 * sum(closed for closed, _ in gaps) / sum(gap for _, gap in gaps) if gaps else None,
        difference=float(differences.mean()) if pairs else math.nan,
        difference_half_width=paired_half_width(differences, replicates) if pairs else math.nan,
    )


def markdown(table: Mapping[str, Mapping[str, Cell]], optima: Mapping[str, float]) -> str:
    """Systems down, worlds across: ``accuracy ± half width (share of the gap), difference ± half width [seeds]``."""
    worlds = list(dict.fromkeys(world for row in table.values() for world in row))
    lines = ["| | " + " | ".join(f"{world} | against `{MASKED}`" for world in worlds) + " |"]
    lines.append("|" + "---|" * (1 + 2 * len(worlds)))
    most = max(cell.seeds for row in table.values() for cell in row.values())
    if optima:
        ends = (f"{optima[world]:.1f} | " if world in optima else "– | " for world in worlds)
        lines.append("| Bayes optimum | " + " | ".join(ends) + " |")
    for system, row in table.items():
        words = [f"`{system}`"]
        for world in worlds:
            words += _words(row[world], most) if world in row else ["–", ""]
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)


def _words(cell: Cell, most: int) -> list[str]:
    spread = "" if math.isnan(cell.half_width) else f" ± {cell.half_width:.1f}"
    gap = "" if cell.gap_closed is None else f" ({cell.gap_closed:.0f})"
    few = "" if cell.seeds == most else f" [{cell.seeds}]"
    is_rival = cell.difference == cell.difference_half_width == 0
    other = "" if is_rival else f"{round(cell.difference, 1) + 0:+.1f} ± {cell.difference_half_width:.1f}"
    return [f"{cell.accuracy:.1f}{spread}{gap}{few}", other]


def _json(cell: Cell) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if value is None or math.isnan(value) else value for name, value in asdict(cell).items()}


def _scored(worlds: Mapping[str, Sequence[str]], root: str, compute: bool, job: Key) -> Scored | None:
    """One run; None where it is not there and is not to be computed."""
    world, system, seed = job
    config = configuration(system, (*worlds[world], *LESS.get(system, ())), seed)
    stage, store = graph(config, SPLIT), Store(root)
    if compute:
        run_graph(stage, store)
    elif store.find(stage.key) is None:
        return None
    predictions = read_predictions(store.open(stage.key).folder)
    dataset, protocol = load_dataset(config), config.protocol.build()

    def of_clips(kept: np.ndarray) -> dict[str, float]:
        left_out = torch.from_numpy(~kept)
        some = {setting: values.masked_fill(left_out, math.nan) for setting, values in predictions.items()}
        return {METRIC: 100 * score(some, dataset, SPLIT, protocol)[METRIC]}

    everything = np.ones(dataset.size(SPLIT), dtype=bool)
    return Scored(of_clips(everything)[METRIC], jackknife(of_clips, len(everything))[METRIC])


def _optimum(settings: Sequence[str], seed: int) -> float | None:
    metrics = bayes_optimum(configuration(ZERO, settings, seed), SPLIT)
    return 100 * metrics[METRIC] if metrics else None


if __name__ == "__main__":
    main()

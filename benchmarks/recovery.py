"""How much of the way from zero-filling to the Bayes optimum each system goes: ``python benchmarks/recovery.py``.

Synthetic clips, of whose law the optimal prediction under every missing pattern follows exactly; accuracy (Non0_acc_2)
on 20,000 test clips, mean of five seeds with its 95 % interval; ``gap_closed`` in percent.

Options: ``systems=decoupled,prior`` (the names of `ROWS` and of systems), ``world=plain|warped``, ``protocol=NAME``,
``seeds=1111,1112``, ``num_test=20000``, ``stages=FOLDER`` (default ``runs/stages``; what is there is used),
``processes=N`` at once (default: one a core), ``data=`` for other clips, whose optimum is not known; every other
``key=value`` is a setting of all rows. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pandas as pd
import torch

from imer_ray.config.commands import SEEDS
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.evaluation.bayes_optimum import bayes_optimum
from imer_ray.evaluation.tables import BAYES, GAP, ZERO, summarise
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.latents import load_dataset

# Rows that are more than a system's name: their settings, chosen on the seeds 7 and 8. All are asked once (one step).
ONE_STEP = ("system=decoupled", "diffusion.num_steps=1")
TAUGHT = (*ONE_STEP, "bank.mode=same", "refiner=none", "loss.distillation=5", "training.recognise.num_epochs=16")
ROWS = {
    "decoupled": (*ONE_STEP, "diffusion.prior=none"),
    "gaussian": (*TAUGHT, "diffusion.prior=gaussian", "diffusion.backbone=none"),
    "prior": (*TAUGHT, "diffusion.prior=mixture", "diffusion.backbone=none"),
    "prior_network": (
        *TAUGHT,
        *("diffusion.prior=gaussian", "diffusion.backbone=mixer", "training.pretrain.num_epochs=300"),
    ),
    "imder": ("preset=imder",),
    "rohydr": ("preset=rohydr",),
}
DEFAULT = ("regression", "masked", "student", "mixture", "decoupled", "gaussian", "prior", "prior_network")
WORLDS = {"plain": (), "warped": ("data.warp=triangular",)}
ONE_READING = ("speed.max_repeats=1", "speed.reference_steps=1")  # speed is not reported
SPLIT = "test"
METRIC = "Non0_acc_2"


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    systems = (ZERO, *options.pop("systems", ",".join(DEFAULT)).split(","))
    seeds = [int(seed) for seed in options.pop("seeds", ",".join(map(str, SEEDS))).split(",")]
    settings = [*WORLDS[options.pop("world", "plain")]]
    num_test = options.pop("num_test", "20000")
    if options.get("data", "synthetic") == "synthetic":
        settings.append(f"data.num_test={num_test}")
    root, processes = options.pop("stages", "runs/stages"), options.pop("processes", None)
    settings += [f"{key}={value}" for key, value in options.items()]
    runs: dict[str, list[dict[str, float]]] = {}
    with pool_of(processes) as pool:
        found = pool.map(functools.partial(_score, settings, root, systems), seeds)
        for number, results in enumerate(found, start=1):
            for system, metrics in results.items():
                runs.setdefault(system, []).append(metrics)
            print(f"{number * len(systems)} of {len(seeds) * len(systems)} runs", file=sys.stderr, flush=True)
    report(summarise(runs, SPLIT), systems)


def pool_of(processes: str | None) -> ProcessPoolExecutor:
    """As many processes as the option says, by default one a core, of one thread each: what two jobs share (encode) may
    be computed by both, with the same result."""
    context = multiprocessing.get_context("spawn")
    number = int(processes) if processes else max(1, os.cpu_count() or 1)
    return ProcessPoolExecutor(number, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))


def configuration(system: str, settings: Sequence[str], seed: int) -> ExperimentConfig:
    """One of `ROWS`, or a system by its name, with further settings."""
    words = (*ROWS.get(system, (f"system={system}",)), *ONE_READING, *settings, f"seed={seed}")
    config = compose(ExperimentConfig, "experiment", list(words))
    return replace(config, data_fingerprint=load_dataset(config).fingerprint)


def report(frame: pd.DataFrame, systems: Sequence[str]) -> None:
    """The table, settings across, and the line of JSON."""
    cells = {(row["Model"], row["Setting"]): row for _, row in frame.iterrows()}
    settings = list(dict.fromkeys(frame["Setting"]))
    rows = [system for system in (BAYES, *systems) if system in set(frame["Model"])]
    print(f"{'':16}" + "".join(f"{setting:>19}" for setting in settings))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for system in rows:
        line = []
        for setting in settings:
            row = cells[system, setting]
            half = (row[f"{METRIC}_high"] - row[f"{METRIC}_low"]) / 2
            entry = {"acc2": round(row[METRIC], 3), "half_width": round(half, 3)}
            text = f"{row[METRIC]:.1f} ±{half:.1f}"
            if GAP in frame:
                entry |= {
                    "bayes_acc2": round(cells[BAYES, setting][METRIC], 3),
                    "zero_acc2": round(cells[ZERO, setting][METRIC], 3),
                    "gap_closed": round(row[GAP], 1),
                }
                text += f" {row[GAP]:4.0f} %"
            line.append(f"{text:>19}")
            found.setdefault(system, {})[setting] = entry
        print(f"{system:16}" + "".join(line))
    print(json.dumps(found))


def _score(settings: list[str], root: str, systems: tuple[str, ...], seed: int) -> dict[str, dict[str, float]]:
    """Metrics of every row, and of the optimum, with one seed."""
    results: dict[str, dict[str, float]] = {}
    for system in systems:
        config = configuration(system, settings, seed)
        if not results and (optimum := bayes_optimum(config, SPLIT)):
            results[BAYES] = optimum
        results[system] = run_graph(graph(config, SPLIT), Store(root))[-1].metrics
    return results


if __name__ == "__main__":
    main()

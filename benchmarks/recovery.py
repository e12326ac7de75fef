"""How much of the way from zero-filling to the Bayes optimum each system goes: ``python benchmarks/recovery.py``.

Synthetic clips, of whose law the optimal prediction under every missing pattern follows exactly; accuracy (Non0_acc_2)
on 20,000 test clips, mean of five seeds; ``gap_closed`` in percent. Options: ``systems=decoupled,mixture``,
``seeds=1111,1112``, ``num_test=20000``, ``stages=FOLDER`` (default ``runs/stages``; what is there is used);
every other ``key=value`` is a setting of the configuration. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import torch

from imer_ray.config.commands import SEEDS
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.missing import PATTERNS
from imer_ray.evaluation.bayes_optimum import bayes_optimum
from imer_ray.evaluation.tables import BAYES, GAP, ZERO, summarise
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.training.latents import load_dataset

SYSTEMS = ("mean", "regression", "autoencoder", "masked", "mixture", "decoupled", "rohydr")
SPLIT = "test"


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    systems = (ZERO, *options.pop("systems", ",".join(SYSTEMS)).split(","))
    seeds = [int(seed) for seed in options.pop("seeds", ",".join(map(str, SEEDS))).split(",")]
    settings = [f"data.num_test={options.pop('num_test', '20000')}", "speed.max_repeats=1", "speed.reference_steps=1"]
    root = options.pop("stages", "runs/stages")
    settings += [f"{key}={value}" for key, value in options.items()]
    jobs = [(system, seed) for seed in seeds for system in systems]
    runs: dict[str, list[dict[str, float]]] = {}
    # A process per core, one thread each: what two jobs share (encode) may be computed by both, with the same result.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, os.cpu_count() or 1), mp_context=context) as pool:
        found = pool.map(functools.partial(_score, settings, root, systems), seeds)
        for number, results in enumerate(found, start=1):
            for system, metrics in results.items():
                runs.setdefault(system, []).append(metrics)
            print(f"{number * len(systems)} of {len(jobs)} runs", file=sys.stderr, flush=True)
    frame = summarise(runs, SPLIT)
    accuracy, low, high, gap = (
        frame.pivot(index="Model", columns="Setting", values=name)
        for name in ("Non0_acc_2", "Non0_acc_2_low", "Non0_acc_2_high", GAP)
    )
    print(f"{'':12}" + "".join(f"{p:>20}" for p in PATTERNS))
    report: dict[str, dict[str, dict[str, float]]] = {}
    for system in (BAYES, *systems):
        cells = []
        for p in PATTERNS:
            half = (high.loc[system, p] - low.loc[system, p]) / 2
            cells.append(f"{accuracy.loc[system, p]:.1f} ±{half:.1f} {gap.loc[system, p]:4.0f} %")
            report.setdefault(system, {})[p] = {
                "acc2": round(accuracy.loc[system, p], 3),
                "bayes_acc2": round(accuracy.loc[BAYES, p], 3),
                "zero_acc2": round(accuracy.loc[ZERO, p], 3),
                "gap_closed": round(gap.loc[system, p], 1),
            }
        print(f"{system:12}" + "".join(f"{cell:>20}" for cell in cells))
    print(json.dumps(report))


def _score(settings: list[str], root: str, systems: tuple[str, ...], seed: int) -> dict[str, dict[str, float]]:
    """Metrics of every system, and of the optimum, with one seed."""
    torch.set_num_threads(1)
    config = compose(ExperimentConfig, "experiment", [*settings, f"seed={seed}"])
    config = replace(config, data_fingerprint=load_dataset(config).fingerprint)
    results = {BAYES: bayes_optimum(config, SPLIT)}
    for system in systems:
        results[system] = run_graph(graph(replace(config, system=system), SPLIT), Store(root))[-1].metrics
    return results


if __name__ == "__main__":
    main()

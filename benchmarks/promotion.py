"""What early verdicts save and lose: ``python benchmarks/promotion.py [seeds=1,2,3,4,5] [trials=48]``.

The same random configurations of one recogniser, trained on synthetic clips, twice: each to its end (``fifo``), and
with ``study.scheduler=asha``, whose paused trials go on when they are among the best third of their rung or can still
be expected to add to the front. Every training is really run, once, in this process and on one thread, and kept under
``folder`` with the loss at each rung; the searches are replayed from that, ``slots`` trials at a time, an epoch of each
in turn. Record, searcher and scheduler are those of a search, so that running the command again costs little.

Quality is the mean absolute error of the validation clips, speed the FLOPs of a clip, so that equal configurations
have equal values. Printed per seed, of asha: its share of fifo's epochs, of fifo's hypervolume, and how many of the
points on fifo's front it has not ended; last one JSON line with medians and the worst.

Options: ``seeds``, ``trials``, ``slots=4``, ``epochs=27``, ``folder=runs/benchmark_promotion``; other words are
settings of the search (``study.reduction_factor=4``).
"""

from __future__ import annotations

import functools
import json
import logging
import shutil
import statistics
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay import Stages

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.pareto import pareto_front
from imer_ray.stages import rungs
from imer_ray.tuning.ray_tune.scheduler import study_scheduler
from imer_ray.tuning.ray_tune.searcher import StudySearcher
from imer_ray.tuning.schedulers import asha
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan
from imer_ray.tuning.trial.coordinator import OUTCOME, ROWS
from imer_ray.tuning.trial.status import COST, STANDING

KIND = "recognise"
SPACE = """\
encoder.latent_dim: {choice: [8, 16, 32, 64]}
training.recognise.learning_rate: {float: [0.0001, 0.03], log: true}
training.recognise.weight_decay: {float: [0.0001, 1.0], log: true}
training.recognise.batch_size: {choice: [32, 128, 512]}
training.recognise.clip_norm: {float: [0.03, 3.0], log: true}
"""
SETTINGS = {
    "system": "masked",
    "data.num_train": "512",
    "data.num_valid": "400",
    "data.num_test": "32",
    "training.encode.num_epochs": "4",
    "speed.max_seconds": "0",
    "evaluate.max_points": "1",
    "study.quality": "MAE",
    "study.speed": "flops",
    "study.searcher": "random",
    "study.prefix_trials": "1",
    "scaling.num_workers": "0",
}
Point = tuple[float, ...]


@dataclass
class Running:
    """A trial in a slot."""

    name: str
    config: Mapping[str, Any]
    epoch: int


@dataclass(frozen=True)
class Trial:
    """What `StudyScheduler` reads of Tune's trials."""

    trial_id: str
    config: Mapping[str, Any]


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    seeds = [int(seed) for seed in words.pop("seeds", "1,2,3,4,5").split(",")]
    num_trials, slots = words.pop("trials", "48"), int(words.pop("slots", "4"))
    folder = Path(words.pop("folder", "runs/benchmark_promotion"))
    settings = {**SETTINGS, "training.recognise.num_epochs": words.pop("epochs", "27"), **words}
    logging.disable(logging.INFO)  # Optuna's, of each trial
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    settings |= {"study.root": str(folder / "studies"), "study.num_trials": num_trials}
    settings |= {"space": str(folder / "space.yaml")}
    found: dict[str, list[float]] = {"epochs": [], "hypervolume": [], "lost": []}
    print(f"{'seed':>4}{'epochs':>9}{'hypervolume':>13}{'on the front':>14}{'lost':>6}", flush=True)
    for seed in seeds:
        whole, least = (_searched(_plan(settings, name, seed), folder, slots) for name in ("fifo", "asha"))
        reference = _plan(settings, "fifo", seed).info.reference
        points = list(whole[1].values())
        front = [trial for trial, best in zip(whole[1], pareto_front(points), strict=True) if best]
        lost = [trial for trial in front if trial not in least[1]]
        area = hypervolume(list(least[1].values()), reference) / hypervolume(points, reference)
        shares = {"epochs": least[0] / whole[0], "hypervolume": area, "lost": len(lost)}
        for name, share in shares.items():
            found[name].append(share)
        print(f"{seed:4}{shares['epochs']:9.3f}{area:13.4f}{len(front):14}{len(lost):6}", flush=True)
    line = {f"{name}_share": round(statistics.median(found[name]), 4) for name in ("epochs", "hypervolume")}
    worst = {"epochs_most": round(max(found["epochs"]), 4), "hypervolume_least": round(min(found["hypervolume"]), 4)}
    print(json.dumps({**line, **worst, "lost": int(sum(found["lost"]))}))


def _plan(settings: Mapping[str, str], scheduler: str, seed: int) -> Plan:
    words = {**settings, "study.name": f"{scheduler}-{seed}", "study.seed": str(seed), "study.scheduler": scheduler}
    return plan(compose(SearchConfig, "search", [f"{key}={value}" for key, value in words.items()]))


def _searched(searched: Plan, folder: Path, slots: int) -> tuple[int, dict[int, Point]]:
    """Epochs of `KIND` that a search runs, and the objectives of the trials that it ends."""
    shutil.rmtree(searched.folder, ignore_errors=True)
    record = open_record(searched)
    scheduler = study_scheduler(searched, record, lambda trial: None)
    stages = Stages(folder, asha.build(searched.options.study).rungs)  # noted for both, so that they are kept once
    row = functools.partial(complete_row, searched.info.study)
    searcher = StudySearcher(record, slots, row, scheduler.stopped, searched.info.num_trials, scheduler.resumed)
    reached: dict[int, int] = {}
    running: deque[Running] = deque()
    num_named = spent = 0
    while True:
        while len(running) < slots:
            proposal = searcher.suggest(str(num_named))
            if not isinstance(proposal, dict):
                break
            running.append(Running(str(num_named), proposal, reached.get(proposal["trial"], 0)))
            num_named += 1
        if not running:
            break
        trial = running.popleft()
        trial.epoch += 1
        spent += 1
        reached[trial.config["trial"]] = trial.epoch
        result, is_over = _after(searched, stages, trial, scheduler.rungs)
        if OUTCOME in result:
            searcher.on_trial_complete(trial.name, result)
        elif is_over or not scheduler.rungs:
            running.append(trial)
        elif scheduler.on_trial_result(None, Trial(trial.name, trial.config), result) == scheduler.STOP:
            searcher.on_trial_complete(trial.name, result)
        else:
            running.append(trial)
    columns = [objective.column for objective in searched.objectives]
    ended = [row for row in record.rows if row["status"] == "complete"]
    return spent, {row["trial"]: tuple(row[column] for column in columns) for row in ended}


def _after(searched: Plan, stages: Stages, trial: Running, at: tuple[int, ...]) -> tuple[dict[str, Any], bool]:
    """What a trial reports after an epoch, and whether that is nothing to judge; its outcome after the last."""
    config = searched.configurations.build(trial.config["values"])
    final = searched.final_stage(config)
    metrics = dict(stages.get(final).metrics)
    by_kind = {stage.kind: stages.get(stage) for stage in final.in_order()}
    training = by_kind[KIND].metrics
    values = {epoch: value for epoch, value in rungs.read(training).items() if epoch <= trial.epoch and epoch in at}
    row = {"config": json.dumps(config), "seed": config["seed"], "stages": "{}", "epochs": trial.epoch}
    if trial.epoch == int(training["epochs"]):
        return {OUTCOME: json.dumps({ROWS: [{**metrics, **row, "error": None}]})}, False
    found = {KIND: values} if values else {}
    row["rungs"] = json.dumps(found) if values else None
    standing = {"compared": found, "alone": [KIND], "cost": dict(by_kind[COST].metrics), "row": row}
    return {STANDING: json.dumps(standing)}, trial.epoch not in at


if __name__ == "__main__":
    main()

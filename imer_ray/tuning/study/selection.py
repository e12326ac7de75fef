"""How much a study's picks owe to the validation clips that chose them, from what its evaluations left of each clip."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.data.missing import seeded
from imer_ray.evaluation.metrics import PREDICTIVE_METRICS, metrics, needed
from imer_ray.evaluation.score import summaries
from imer_ray.evaluation.scored_clips import read_by_clip, read_predictions
from imer_ray.results.axes import SPEED
from imer_ray.results.optimism import OPTIMISM, Optimism, optimism, write_optimism
from imer_ray.results.schema import METRIC_PREFIX, SUMMARIES
from imer_ray.results.study import Study, load
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.store import Store
from imer_ray.training.latents import load_dataset
from imer_ray.training.losses import has_label
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.trial.coordinator import SPLIT

NUM_SPLITS = 20  # of the clips; each gives two halves to choose on

Quality = Callable[[Tensor], float]
"""Of some of the clips [n], by number; NaN where their labels give it no meaning."""


def write(plan: Plan) -> None:
    """Write a study's optimism into its folder, or take an older one away where it cannot be known."""
    study = load(plan.folder)
    found = _optimism(study, typed(plan.base, ExperimentConfig), Store(plan.stages))
    if found is None:
        (plan.folder / OPTIMISM).unlink(missing_ok=True)
    else:
        write_optimism(plan.folder, found)


def _optimism(study: Study, config: ExperimentConfig, store: Store) -> Optimism | None:
    """None where there is nothing to choose, or where evaluations that were chosen among have been evicted."""
    labels = load_dataset(config).labels(SPLIT)
    try:
        qualities = [
            [_quality(store, key, study.quality.column, config, labels) for key in keys] for keys in _keys(study)
        ]
    except (MissingArtefact, FileNotFoundError):
        return None
    if len(qualities) < 2:
        return None
    known = has_label(labels).nonzero().squeeze(1)
    sign = -1.0 if study.quality.higher_is_better else 1.0
    sides: list[list[list[float]]] = [[], []]
    for split in range(NUM_SPLITS):
        order = known[torch.randperm(len(known), generator=seeded("optimism", split, len(known)))]
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for side, half in zip(sides, halves, strict=True):
            side.append([sign * float(np.mean([of_seed(half) for of_seed in seeds])) for seeds in qualities])
    first, second = (np.array(side) for side in sides)
    measured = np.isfinite(first).all(1) & np.isfinite(second).all(1)
    if not measured.any():
        return None
    first, second = first[measured], second[measured]
    speed = study.points[SPEED].to_numpy(float)
    lost = optimism(np.concatenate([first, second]), np.concatenate([second, first]), speed)
    return Optimism(metric=study.quality.column, num_points=len(qualities), num_halves=2 * len(first), by_pick=lost)


def _keys(study: Study) -> list[list[str]]:
    """Of each point, the evaluations with its seeds."""
    complete = study.frame[study.frame["status"] == "complete"]
    found: dict[tuple[int, int], list[str]] = {}
    for trial, point, stages in zip(complete["trial"], complete["point"], complete["stages"], strict=True):
        found.setdefault((trial, point), []).append(json.loads(stages)["evaluate"])
    return [found[key] for key in zip(study.points["trial"], study.points["point"], strict=True)]


def _quality(store: Store, key: str, column: str, config: ExperimentConfig, labels: Tensor) -> Quality:
    """The study's quality of one evaluation: a metric in a setting, its mean over those in which something is missing,
    or one of `summaries`."""
    setting, _, metric = column.removeprefix(METRIC_PREFIX).rpartition(".")
    folder = store.open(key).folder
    by_clip = read_by_clip(folder, metric) if metric in PREDICTIVE_METRICS else read_predictions(folder)
    complete, kind = config.protocol.build().complete, load_dataset(config).label_kind

    def quality(clips: Tensor) -> float:
        names = [setting] if setting in by_clip else by_clip
        found = {name: _of(metric, by_clip[name][clips], labels[clips], kind) for name in names}
        found = {name: value for name, value in found.items() if not math.isnan(value)}
        if setting in SUMMARIES:
            summed = summaries({name: {metric: value} for name, value in found.items()}, complete)
            return summed.get(f"{setting}.{metric}", math.nan)
        kept = [value for name, value in found.items() if setting or name not in complete]
        return sum(kept) / len(kept) if kept else math.nan

    return quality


def _of(metric: str, values: Tensor, labels: Tensor, kind: str) -> float:
    there = ~values.isnan()
    if not there.any() or needed(metric, labels[there], kind) is not None:
        return math.nan
    if metric in PREDICTIVE_METRICS:
        return float(values[there].mean())
    return metrics(values[there].numpy(), labels[there].numpy(), kind)[metric]

"""The study's quality of some of the validation clips, from what its evaluations left of each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

import pandas as pd
from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.evaluation.metrics import PREDICTIVE_METRICS, metrics, needed
from imer_ray.evaluation.score import summaries
from imer_ray.evaluation.scored_clips import read_by_clip, read_predictions
from imer_ray.results.schema import METRIC_PREFIX, SUMMARIES
from imer_ray.results.study import Study
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.store import Store
from imer_ray.training.latents import load_dataset
from imer_ray.tuning.trial.coordinator import SPLIT

Quality = Callable[[Tensor], float]
"""Of some of the clips [n], by number; NaN where their labels give it no meaning."""


def by_seed(
    study: Study, points: pd.DataFrame, config: ExperimentConfig, store: Store
) -> list[dict[float, Quality]] | None:
    """Of each of the points, its quality with each of its seeds; None where an evaluation has been evicted."""
    complete = study.frame[study.frame["status"] == "complete"]
    found: dict[tuple[int, int], dict[float, str]] = {}
    columns = (complete[name] for name in ("trial", "point", "seed", "stages"))
    for trial, point, seed, stages in zip(*columns, strict=True):
        found.setdefault((trial, point), {})[seed] = json.loads(stages)["evaluate"]
    keys = [found[name] for name in zip(points["trial"], points["point"], strict=True)]
    try:
        return [
            {seed: quality(store, key, study.quality.column, config) for seed, key in seeds.items()} for seeds in keys
        ]
    except (MissingArtefact, FileNotFoundError):
        return None


def quality(store: Store, key: str, column: str, config: ExperimentConfig) -> Quality:
    """The study's quality of one evaluation: a metric in a setting, its mean over those in which something is missing,
    or one of `summaries`."""
    setting, _, metric = column.removeprefix(METRIC_PREFIX).rpartition(".")
    folder = store.open(key).folder
    by_clip = read_by_clip(folder, metric) if metric in PREDICTIVE_METRICS else read_predictions(folder)
    dataset, complete = load_dataset(config), config.protocol.build().complete
    labels, kind = dataset.labels(SPLIT), dataset.label_kind

    def of_clips(clips: Tensor) -> float:
        names = [setting] if setting in by_clip else by_clip
        found = {name: _of(metric, by_clip[name][clips], labels[clips], kind) for name in names}
        found = {name: value for name, value in found.items() if not math.isnan(value)}
        if setting in SUMMARIES:
            summed = summaries({name: {metric: value} for name, value in found.items()}, complete)
            return summed.get(f"{setting}.{metric}", math.nan)
        kept = [value for name, value in found.items() if setting or name not in complete]
        return sum(kept) / len(kept) if kept else math.nan

    return of_clips


def _of(metric: str, values: Tensor, labels: Tensor, kind: str) -> float:
    there = ~values.isnan()
    if not there.any() or needed(metric, labels[there], kind) is not None:
        return math.nan
    if metric in PREDICTIVE_METRICS:
        return float(values[there].mean())
    return metrics(values[there].numpy(), labels[there].numpy(), kind)[metric]


def mean_over(seeds: Mapping[float, Quality], clips: Tensor) -> float:
    """The mean over a point's seeds of its quality on some of the clips."""
    return sum(of_seed(clips) for of_seed in seeds.values()) / len(seeds)

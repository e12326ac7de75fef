"""What further validation clips say of a study's picks (`imer_ray.data.validation_folds`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

import numpy as np

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.config.tree import replace
from imer_ray.data.validation_folds import num_folds
from imer_ray.results.study import Study
from imer_ray.results.uncertainty import point_name
from imer_ray.stages.graph import Stage
from imer_ray.stages.store import Store
from imer_ray.training.latents import opened
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.trial.coordinator import SPLIT

FEWEST = 2  # folds whose spread says anything


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """The study's quality of picks and baselines on each of the folds that all of them were evaluated on.

    Attributes:
        picks: point, as `point_name` calls it -> fold -> quality.
        baselines: name -> fold -> quality.
        num_clips: validation clips of all these folds.
    """

    picks: Mapping[str, Mapping[float, float]]
    baselines: Mapping[str, Mapping[float, float]]
    num_clips: int


def evaluations(plan: Plan, study: Study) -> dict[str, dict[int, Stage]]:
    """Pick or baseline -> fold -> its evaluation on it; empty where the data have fewer than `FEWEST` further folds.

    The fold that the picks were chosen on is not among them.
    """
    if study.points.empty or plan.options.study.folds == 0:
        return {}
    plan = replaced(plan, machine=None)  # no time is read of these evaluations, and so they are the same everywhere
    dataset = opened(typed(plan.base, ExperimentConfig).data.build())
    folds = range(1, min(1 + plan.options.study.folds, num_folds(dataset)))
    if len(folds) < FEWEST:
        return {}
    rows = study.points.loc[[*study.picks.values()]].to_dict("records")
    configs = {point_name(row): json.loads(row["config"]) for row in rows}
    configs |= {name: {**plan.base, "system": name} for name in study.rivals}
    return {
        name: {fold: plan.final_stage(_on_fold(config, fold)) for fold in folds} for name, config in configs.items()
    }


def _on_fold(config: Mapping[str, Any], fold: int) -> dict[str, Any]:
    """With a seed of its own, so that the spread over folds is that of seeds as well."""
    return replace(config, {"validation_fold": fold, "seed": config["seed"] + fold}, {})


def cross_validated(plan: Plan, study: Study, store: Store) -> CrossValidated | None:
    """What the store has of a study's picks and baselines; None where these are fewer than `FEWEST` folds."""
    column, found = study.quality.column, dict[str, dict[float, float]]()
    for name, of_folds in evaluations(plan, study).items():
        manifests = {fold: store.find(stage.key) for fold, stage in of_folds.items()}
        found[name] = {
            float(fold): manifest.metrics[column]
            for fold, manifest in manifests.items()
            if manifest is not None and np.isfinite(manifest.metrics.get(column, np.nan))
        }
    folds = set.intersection(*map(set, found.values())) if found else set()
    if len(folds) < FEWEST:
        return None
    kept = {name: {fold: of_folds[fold] for fold in sorted(folds)} for name, of_folds in found.items()}
    return CrossValidated(
        picks={name: values for name, values in kept.items() if name not in study.rivals},
        baselines={name: values for name, values in kept.items() if name in study.rivals},
        num_clips=len(folds) * opened(typed(plan.base, ExperimentConfig).data.build()).size(SPLIT),
    )

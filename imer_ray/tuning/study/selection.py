"""What is known of a study's picks from its validation clips: what they owe to these, and how sure they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.data.missing import seeded
from imer_ray.results.optimism import OPTIMISM, Optimism, optimism, write_optimism
from imer_ray.results.schema import OBJECTIVE_PREFIX
from imer_ray.results.study import Study, load
from imer_ray.results.uncertainty import UNCERTAINTY, write_uncertainty
from imer_ray.stages.store import Store
from imer_ray.training.latents import load_dataset
from imer_ray.training.losses import has_label
from imer_ray.tuning.study.clip_quality import by_seed, mean_over
from imer_ray.tuning.study.cross_validation import cross_validated
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.uncertainty import uncertainty
from imer_ray.tuning.trial.coordinator import SPLIT

NUM_SPLITS = 20  # of the clips; each gives two halves to choose on


def write(plan: Plan) -> None:
    """Write a study's optimism and uncertainty into its folder, or take older ones away where they cannot be known."""
    for name in (OPTIMISM, UNCERTAINTY):  # before all else: with a damaged one the study would not open
        (plan.folder / name).unlink(missing_ok=True)
    study, config, store = load(plan.folder), typed(plan.base, ExperimentConfig), Store(plan.stages)
    known = has_label(load_dataset(config).labels(SPLIT)).nonzero().squeeze(1)
    if (flattered := _optimism(study, config, store, known)) is not None:
        write_optimism(plan.folder, flattered)
    validated = cross_validated(plan, study, store)
    if (sure := uncertainty(study, by_seed(study, study.front, config, store), known, validated)) is not None:
        write_uncertainty(plan.folder, sure)


def _optimism(study: Study, config: ExperimentConfig, store: Store, known: Tensor) -> Optimism | None:
    """None where there is nothing to choose, or where evaluations that were chosen among have been evicted."""
    qualities = by_seed(study, study.points, config, store)
    if qualities is None or len(qualities) < 2:
        return None
    sign = -1.0 if study.quality.higher_is_better else 1.0
    sides: list[list[list[float]]] = [[], []]
    for split in range(NUM_SPLITS):
        order = known[torch.randperm(len(known), generator=seeded("optimism", split, len(known)))]
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for side, half in zip(sides, halves, strict=True):
            side.append([sign * mean_over(seeds, half) for seeds in qualities])
    first, second = (np.array(side) for side in sides)
    measured = np.isfinite(first).all(1) & np.isfinite(second).all(1)
    if not measured.any():
        return None
    first, second = first[measured], second[measured]
    others = study.minimised_of(study.points)[:, 1:]
    further = [column.removeprefix(OBJECTIVE_PREFIX) for column in study.objectives[2:]]
    lost = optimism(np.concatenate([first, second]), np.concatenate([second, first]), others, further)
    return Optimism(metric=study.quality.column, num_points=len(qualities), num_halves=2 * len(first), by_pick=lost)

"""By how much the picks look better than they are, because the clips that rank them also chose them.

Of many points with noisy qualities the best one is best partly by luck. The luck shows where points are chosen on one
half of the validation clips and measured on the other (holdout; Cawley and Talbot, On over-fitting in model selection
and subsequent selection bias in performance evaluation, JMLR 11, 2010).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.results.findings import read_finding, write_finding
from imer_ray.results.pareto import picks

OPTIMISM = "optimism.json"  # in a study's folder
NAMES = ("quality", "speed", "knee")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Optimism:
    """Means over random halves.

    Attributes:
        metric: the column that quality is computed from.
        num_points: that were chosen among.
        num_halves: that were chosen on.
        by_pick: quality, speed, knee and further objectives -> how much worse the point that has this name on one half
            is on the other.
    """

    metric: str
    num_points: int
    num_halves: int
    by_pick: Mapping[str, float]


def optimism(chosen_on: Floats, measured_on: Floats, others: Floats, further: Sequence[str] = ()) -> dict[str, float]:
    """Mean over halves of what each pick loses from the half that it is chosen on to the other.

    Args:
        chosen_on, measured_on: quality [R, N], minimised, of N points on R halves and on what is left by each.
        others: [N, K - 1] speed and further objectives, minimised, as they are on all clips.
        further: the names of the latter.
    """
    lost: dict[str, list[float]] = {name: [] for name in (*NAMES, *further)}
    for ours, theirs in zip(chosen_on, measured_on, strict=True):
        for name, index in picks(np.column_stack([ours, others]), further).items():
            lost[name].append(float(theirs[index] - ours[index]))
    return {name: float(np.mean(values)) for name, values in lost.items()}


def write_optimism(folder: Path, found: Optimism) -> None:
    """Write it beside the results."""
    write_finding(folder / OPTIMISM, found)


def read_optimism(folder: Path, metric: str) -> Optimism | None:
    """What `write_optimism` wrote into a study's folder; None if nothing, or of another ``metric``.

    Raises:
        UserError: the file is damaged.
    """
    return read_finding(folder / OPTIMISM, metric, _parsed)


def _parsed(content: Mapping[str, Any]) -> Optimism:
    found = Optimism(**{**content, "by_pick": {str(name): float(lost) for name, lost in content["by_pick"].items()}})
    if not set(NAMES) <= found.by_pick.keys() or not all(map(math.isfinite, found.by_pick.values())):
        raise ValueError("its numbers are none")
    return found

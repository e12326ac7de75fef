"""The objectives as people read them: which column they stand in, and what to call it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imer_ray.results.schema import AUILC, METRIC_PREFIX, OBJECTIVE_PREFIX, WORST

if TYPE_CHECKING:
    import pandas as pd  # which a worker that scores a model has no use for

QUALITY, SPEED = "objective.quality", "objective.speed"


@dataclass(frozen=True)
class Axis:
    """An objective as people read it.

    Attributes:
        column: where its values stand.
        name: for tables and hover labels.
        label: for axes, with what it is a mean of, or its unit.
        unit: follows a number directly.
    """

    column: str
    name: str
    label: str
    higher_is_better: bool
    log: bool = False
    unit: str = ""


APART = "text encoder apart"  # see `imer_ray.results.text_encoder`
COST_AXES = {
    "speedup_vs_imder": Axis("speedup_vs_imder", "speedup", f"speedup over IMDer, {APART} (×)", True, True, "×"),
    "speedup_vs_imder_b1": Axis(
        "speedup_vs_imder_b1", "speedup", f"speedup over IMDer on one clip, {APART} (×)", True, True, "×"
    ),
    "clips_per_s": Axis("clips_per_s", "clips/s", "clips per second", True, log=True),
    "latency_ms": Axis("latency_ms", "ms/batch", "latency of a batch (ms)", False, log=True, unit=" ms"),
    "latency_ms_b1": Axis("latency_ms_b1", "ms/clip", "latency of one clip (ms)", False, log=True, unit=" ms"),
    "flops_per_clip": Axis("flops_per_clip", "FLOPs", "FLOPs per clip", False, log=True),
    "nfe": Axis("nfe", "NFE", "network evaluations (NFE)", False, log=True),
    "num_parameters": Axis("num_parameters", "parameters", "parameters", False, log=True),
}
ERRORS = ("MAE", "CRPS", "NLL")  # metrics of which less is better


def quality_axis(objective: Mapping[str, Any], frame: pd.DataFrame) -> Axis:
    column = objective["metric"]
    if column not in frame:
        return Axis(QUALITY, "quality", f"{objective['label']} (minimised)", higher_is_better=False)
    setting, _, metric = column.removeprefix(METRIC_PREFIX).rpartition(".")
    name = metric.removesuffix("_score").replace("_", " ")
    rates = any(c.startswith(METRIC_PREFIX) and c[len(METRIC_PREFIX)].isdigit() for c in frame)
    if not setting or setting == WORST:
        label = f"{setting or 'mean'} {name} over missing {'rates' if rates else 'patterns'} (valid)"
    elif setting == AUILC:
        label = f"area under the {name} over missing rates (valid)"
    else:
        label = f"{name} {f'at missing rate {setting}' if rates else f'with only {setting} available'} (valid)"
    return Axis(column, name, label, higher_is_better=metric not in ERRORS)


def further_axis(
    objective: Mapping[str, Any],
    frame: pd.DataFrame,
    baselines: Mapping[str, Mapping[str, float]],
    before: Sequence[Axis],
) -> Axis:
    """The axis of an objective beside quality and speed, with a name that none before it has."""
    name = str(objective["name"])
    if objective["metric"].startswith(METRIC_PREFIX):
        axis = quality_axis(objective, frame)
    else:
        axis = speed_axis(objective, frame, baselines)
    if axis.column in (QUALITY, SPEED):  # what it is computed from is not in the file
        return dataclasses.replace(axis, column=OBJECTIVE_PREFIX + name, name=name)
    if axis.name not in {other.name for other in before}:
        return axis
    return dataclasses.replace(axis, name=name.removesuffix("_score").replace("_", " ").replace(".", " "))


def speed_axis(objective: Mapping[str, Any], frame: pd.DataFrame, baselines: Mapping[str, Mapping[str, float]]) -> Axis:
    """The column that speed is computed from; latency, being relative to IMDer, reads as a speedup."""
    column = objective["metric"]
    if column in COST_AXES and column in frame:
        axis = COST_AXES[column]
        beside = [measured[column] for measured in baselines.values() if column in measured]
        positive = not (frame[column] <= 0).any() and all(value > 0 for value in beside)
        return dataclasses.replace(axis, log=axis.log and positive)  # without recovery there are 0 evaluations
    return Axis(SPEED, "speed", f"{objective['label']} (minimised)", higher_is_better=False)

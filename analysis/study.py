"""One run's results as the figures need them: its measured points, its front, and what to call things."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attainment import times_on_front
from analysis.pareto import knee, non_domination_rank
from analysis.seeds import NUM_SEEDS, averaged, on_each_seed
from imer_ray.results.schema import COLUMNS, CONFIG_PREFIX, METRIC_PREFIX, UserError, read_results

QUALITY, SPEED = "objective.quality", "objective.speed"
REQUIRED = ("trial", "status", QUALITY, SPEED)
RESULTS, BASELINES = "results.parquet", "baselines.json"


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


COST_AXES = {
    "speedup_vs_imder": Axis("speedup_vs_imder", "speedup", "speedup over IMDer (×)", True, log=True, unit="×"),
    "speedup_vs_imder_b1": Axis(
        "speedup_vs_imder_b1", "speedup", "speedup over IMDer on one clip (×)", True, log=True, unit="×"
    ),
    "clips_per_s": Axis("clips_per_s", "clips/s", "clips per second", True, log=True),
    "latency_ms": Axis("latency_ms", "ms/batch", "latency of a batch (ms)", False, log=True, unit=" ms"),
    "latency_ms_b1": Axis("latency_ms_b1", "ms/clip", "latency of one clip (ms)", False, log=True, unit=" ms"),
    "flops_per_clip": Axis("flops_per_clip", "FLOPs", "FLOPs per clip", False, log=True),
    "nfe": Axis("nfe", "NFE", "network evaluations (NFE)", False, log=True),
    "num_parameters": Axis("num_parameters", "parameters", "parameters", False, log=True),
}
ERRORS = ("MAE",)  # metrics of which less is better


@dataclass(frozen=True)
class Study:
    """A run's results.

    Attributes:
        frame: every row, also of failed and stopped trials.
        settings: the searched configuration paths that any row has, in the space's order.
        reference: up to where hypervolume is measured (quality, speed; both minimised).
        minimised: what is minimised for quality and for speed, in words.
        num_trials: how many the study is meant to have.
        constraints: what a point must keep to be on the front, as "latency_ms_b1 <= 5".
        baselines: name -> measured columns, of systems measured beside the search.
    """

    name: str
    frame: pd.DataFrame
    quality: Axis
    speed: Axis
    settings: tuple[str, ...]
    reference: tuple[float, float]
    minimised: tuple[str, str] = (QUALITY, SPEED)
    num_trials: int = 0
    searcher: str = ""
    constraints: tuple[str, ...] = ()
    folder: Path = Path()
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @functools.cached_property
    def points(self) -> pd.DataFrame:
        """The complete points in the order they finished, with their ``rank`` (0 = Pareto front).

        Of a point that was run with several seeds it is the mean that stands here, see `analysis.seeds.averaged`. What
        breaks the study's constraints with the study's seed is no point that one could choose, and stands aside.
        """
        points = self._measured[self._measured["feasible"].ne(False)]
        rank = non_domination_rank(points[[QUALITY, SPEED]].astype(float))
        return points.assign(rank=rank)[rank >= 0].sort_values("finished", kind="stable", ignore_index=True)

    @property
    def infeasible(self) -> pd.DataFrame:
        """The complete points that break the constraints."""
        return self._measured[self._measured["feasible"].eq(False)]

    @functools.cached_property
    def _measured(self) -> pd.DataFrame:
        return averaged(self._complete, (self.quality.column, self.speed.column))

    @property
    def _complete(self) -> pd.DataFrame:
        return self.frame[self.frame["status"] == "complete"]

    @property
    def repeated(self) -> bool:
        """Whether any point was run with several seeds."""
        return bool((self.points[NUM_SEEDS] > 1).any())

    @functools.cached_property
    def on_each_seed(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Speed and quality, both minimised, of the points [N] with each seed [S]: [S, N, 2], and which were run."""
        axes = (self.speed, self.quality)
        values, ran = on_each_seed(self._complete, self.points, [axis.column for axis in axes])
        return values * [-1 if axis.higher_is_better else 1 for axis in axes], ran

    @functools.cached_property
    def attained(self) -> pd.Series:
        """Of each point with several seeds, how many of them have it on their front; the index is that of `points`."""
        counts = pd.Series(times_on_front(*self.on_each_seed), index=self.points.index, dtype=float)
        return counts.where(self.points[NUM_SEEDS] > 1)

    @functools.cached_property
    def front(self) -> pd.DataFrame:
        """The Pareto front from best quality to best speed; its index is that of `points`."""
        return self.points[self.points["rank"] == 0].sort_values([QUALITY, SPEED], kind="stable")

    @functools.cached_property
    def picks(self) -> dict[str, int]:
        """quality, knee, speed -> index in `points`; where they coincide the first name stands."""
        if self.front.empty:
            return {}
        index = self.front.index
        chosen = {"quality": index[0], "speed": index[-1], "knee": index[knee(self.front[[QUALITY, SPEED]])]}
        first: dict[int, str] = {}
        for name, point in chosen.items():
            first.setdefault(int(point), name)
        return {name: point for point, name in sorted(first.items(), key=lambda item: index.get_loc(item[0]))}

    @functools.cached_property
    def varying(self) -> list[str]:
        """The settings in which the points differ."""
        return [path for path in self.settings if self.points[CONFIG_PREFIX + path].nunique(dropna=False) > 1]

    @functools.cached_property
    def patterns(self) -> dict[str, str]:
        """The protocol's settings -> the column with the quality metric in each; empty if quality is no such metric."""
        start, end = METRIC_PREFIX, "." + self.quality.column.rpartition(".")[2]
        columns = [c for c in self.frame if c.startswith(start) and c.endswith(end) and len(c) > len(start + end)]
        return {c[len(start) : -len(end)]: c for c in sorted(columns, key=_setting_order)}

    @property
    def at_rates(self) -> bool:
        """Whether the protocol's settings are missing rates, not patterns."""
        return any(name[0].isdigit() for name in self.patterns)


def load(run: Path) -> Study:
    """Read a run's folder.

    Raises:
        UserError: there are no results, or they cannot be read.
    """
    frame = read_results(run / RESULTS)
    return of_frame(frame, folder=run, baselines=_baselines(run / BASELINES))


def of_frame(
    frame: pd.DataFrame, folder: Path = Path(), baselines: Mapping[str, Mapping[str, float]] | None = None
) -> Study:
    """A study from the rows that `imer_ray.results.schema.read_results` returns, with the study's own words in attrs.

    Raises:
        UserError: columns are missing without which there is no front; others that are missing read as not measured.
    """
    lacking = [column for column in REQUIRED if column not in frame]
    if lacking:
        raise UserError(f"the results have no column {', '.join(lacking)}; run the search again to write them anew")
    frame = frame.assign(**{column: None for column in COLUMNS if column not in frame})
    info = frame.attrs["info"]
    objectives = {objective["name"]: objective for objective in info["objectives"]}
    return Study(
        name=info["study"],
        frame=frame,
        quality=_quality_axis(objectives["quality"], frame),
        speed=_speed_axis(objectives["speed"], frame, baselines or {}),
        settings=tuple(path for path in info["space"] if _known(frame, CONFIG_PREFIX + path)),
        reference=(objectives["quality"]["reference"], objectives["speed"]["reference"]),
        minimised=(objectives["quality"]["label"], objectives["speed"]["label"]),
        num_trials=info["num_trials"],
        searcher=info["searcher"],
        constraints=tuple(info.get("constraints", ())),
        folder=folder,
        baselines=baselines or {},
    )


def _quality_axis(objective: Mapping[str, Any], frame: pd.DataFrame) -> Axis:
    column = objective["metric"]
    if column not in frame:
        return Axis(QUALITY, "quality", f"{objective['label']} (minimised)", higher_is_better=False)
    setting, _, metric = column.removeprefix(METRIC_PREFIX).rpartition(".")
    name = metric.removesuffix("_score").replace("_", " ")
    rates = any(c.startswith(METRIC_PREFIX) and c[len(METRIC_PREFIX)].isdigit() for c in frame)
    if not setting:
        label = f"mean {name} over missing {'rates' if rates else 'patterns'} (valid)"
    else:
        label = f"{name} {f'at missing rate {setting}' if rates else f'with only {setting} available'} (valid)"
    return Axis(column, name, label, higher_is_better=metric not in ERRORS)


def _speed_axis(
    objective: Mapping[str, Any], frame: pd.DataFrame, baselines: Mapping[str, Mapping[str, float]]
) -> Axis:
    """The column that speed is computed from; latency, being relative to IMDer, reads as a speedup."""
    column = objective["metric"]
    if column in COST_AXES and column in frame:
        axis = COST_AXES[column]
        beside = [measured[column] for measured in baselines.values() if column in measured]
        positive = not (frame[column] <= 0).any() and all(value > 0 for value in beside)
        return dataclasses.replace(axis, log=axis.log and positive)  # without recovery there are 0 evaluations
    return Axis(SPEED, "speed", f"{objective['label']} (minimised)", higher_is_better=False)


def _known(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and frame[column].notna().any()


def _setting_order(column: str) -> tuple[int, int, str]:
    setting = column.removeprefix(METRIC_PREFIX).split(".")[0]
    return (len(setting), "lav".find(setting[:1]) if setting[0] in "lav" else 0, column)


def _baselines(path: Path) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        return {
            str(name): {k: float(v) for k, v in measured.items() if isinstance(v, (int, float))}
            for name, measured in content.items()
        }
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, or run the search again to write it anew") from error

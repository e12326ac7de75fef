"""One run's results as the figures need them: its measured points, its front, and what to call things."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imer_ray.results.attainment import times_on_front
from imer_ray.results.axes import QUALITY, SPEED, Axis, further_axis, quality_axis, speed_axis
from imer_ray.results.counting import identity
from imer_ray.results.idle import without_idle
from imer_ray.results.optimism import Optimism, read_optimism
from imer_ray.results.origin import data_of, protocol_of
from imer_ray.results.pareto import non_domination_rank, pareto_front, picks
from imer_ray.results.printable import one_line, printable_frame, printable_words
from imer_ray.results.schema import (
    COLUMNS,
    CONFIG_PREFIX,
    METRIC_PREFIX,
    OBJECTIVE_PREFIX,
    RESULTS,
    SUMMARIES,
    DataInfo,
    UserError,
    read_results,
)
from imer_ray.results.seeds import NUM_SEEDS, averaged, on_each_seed
from imer_ray.results.uncertainty import Uncertainty, read_uncertainty, with_intervals

REQUIRED = ("trial", "status", QUALITY, SPEED)
BASELINES = "baselines.json"


@dataclass(frozen=True)
class Study:
    """A run's results.

    Attributes:
        frame: every row, also of failed and stopped trials.
        settings: the searched configuration paths that any row has, in the space's order.
        reference: up to where hypervolume is measured (quality, speed, further objectives; all minimised).
        minimised: what is minimised for each objective, in words.
        also: the axes of the further objectives.
        objectives: the columns in which the objectives' minimised values stand.
        num_trials: how many the study is meant to have.
        constraints: what a point must keep to be on the front, as "latency_ms_b1 <= 5".
        baselines: name -> measured columns, of systems measured beside the search.
        data: the clips that it is of; of an old file no more than their name and content, if these are known.
        protocol: the name of the missing protocol that quality is measured under, if it is known.
        optimism: by how much choosing flatters the picks, if it is known.
        uncertainty: how sure the front's qualities and the picks' differences are, if it is known.
    """

    name: str
    frame: pd.DataFrame
    quality: Axis
    speed: Axis
    settings: tuple[str, ...]
    reference: tuple[float, ...]
    minimised: tuple[str, ...] = (QUALITY, SPEED)
    also: tuple[Axis, ...] = ()
    objectives: tuple[str, ...] = (QUALITY, SPEED)
    num_trials: int = 0
    searcher: str = ""
    constraints: tuple[str, ...] = ()
    folder: Path = Path()
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    data: DataInfo | None = None
    protocol: str | None = None
    optimism: Optimism | None = None
    uncertainty: Uncertainty | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Of quality, speed and the further objectives."""
        return (self.quality, self.speed, *self.also)

    def minimised_of(self, points: pd.DataFrame) -> NDArray[np.float64]:
        """[N, K] the objectives of points."""
        return points[list(self.objectives)].to_numpy(float)

    @functools.cached_property
    def points(self) -> pd.DataFrame:
        """The complete points in the order they finished, with their ``rank`` (0 = Pareto front), each result once.

        Of a point that was run with several seeds it is the mean that stands here (`imer_ray.results.seeds`). What
        breaks the study's constraints with the study's seed is no point that one could choose, and stands aside. Of
        points that came to one result (`imer_ray.results.counting.identity`) it is the one with most seeds, and of
        these the first, that stands for all.
        """
        named = self.choosable
        rows = named[["stages"]].to_dict("records")
        results = [identity(row) or str(index) for index, row in zip(named.index, rows, strict=True)]
        most = named.assign(result=results).sort_values(NUM_SEEDS, ascending=False, kind="stable")
        kept = named.loc[sorted(most.drop_duplicates("result").index)].reset_index(drop=True)
        return kept.assign(rank=non_domination_rank(self.minimised_of(kept)))

    @functools.cached_property
    def choosable(self) -> pd.DataFrame:
        """All complete points that one could name, those with a result that another has among them."""
        points = self._measured[self._measured["feasible"].ne(False)]
        rank = non_domination_rank(self.minimised_of(points))
        return points.assign(rank=rank)[rank >= 0].sort_values("finished", kind="stable", ignore_index=True)

    @property
    def infeasible(self) -> pd.DataFrame:
        """The complete points that break the constraints."""
        return self._measured[self._measured["feasible"].eq(False)]

    @functools.cached_property
    def _measured(self) -> pd.DataFrame:
        points = averaged(self._complete, [axis.column for axis in self.axes])
        return points if self.uncertainty is None else with_intervals(points, self.uncertainty)

    @property
    def _complete(self) -> pd.DataFrame:
        return self.frame[self.frame["status"] == "complete"]

    @property
    def repeated(self) -> bool:
        """Whether any point was run with several seeds."""
        return bool((self.points[NUM_SEEDS] > 1).any())

    @functools.cached_property
    def on_each_seed(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Speed, quality and further objectives, all minimised, of the points [N] with each seed [S]: [S, N, K], and
        which were run."""
        axes = (self.speed, self.quality, *self.also)
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
        return self.points[self.points["rank"] == 0].sort_values(list(self.objectives), kind="stable")

    @functools.cached_property
    def stairs(self) -> pd.DataFrame:
        """The points that none beats in quality and speed alone, fastest last: the front's outline in the picture."""
        alone = pareto_front(self.points[[QUALITY, SPEED]].astype(float))
        return self.points[alone].sort_values(SPEED, ascending=False, kind="stable")

    @functools.cached_property
    def picks(self) -> dict[str, int]:
        """quality, knee, speed, further objectives -> index in `points`; where they coincide the first name stands."""
        first: dict[int, str] = {}
        for name, point in self.every_pick.items():
            first.setdefault(point, name)
        return {name: point for point, name in sorted(first.items(), key=lambda at: self.front.index.get_loc(at[0]))}

    @property
    def every_pick(self) -> dict[str, int]:
        """quality, speed, knee, further objectives -> index in `points`; several names may stand for one point."""
        further = [column.removeprefix(OBJECTIVE_PREFIX) for column in self.objectives[2:]]
        return picks(self.minimised_of(self.points), further)

    @functools.cached_property
    def varying(self) -> list[str]:
        """The settings in which the points differ."""
        return [path for path in self.settings if self.points[CONFIG_PREFIX + path].nunique(dropna=False) > 1]

    @functools.cached_property
    def patterns(self) -> dict[str, str]:
        """The protocol's settings -> the column with the quality metric in each; empty if quality is no such metric."""
        start, end = METRIC_PREFIX, "." + self.quality.column.rpartition(".")[2]
        columns = [c for c in self.frame if c.startswith(start) and c.endswith(end) and len(c) > len(start + end)]
        found = {c[len(start) : -len(end)]: c for c in sorted(columns, key=_setting_order)}
        return {setting: column for setting, column in found.items() if setting not in SUMMARIES}

    @property
    def rivals(self) -> dict[str, tuple[float, float]]:
        """name -> (speed, quality) of the baselines of which both were measured, as in the axes' columns."""
        speed, quality = self.speed.column, self.quality.column
        return {name: (of[speed], of[quality]) for name, of in self.baselines.items() if speed in of and quality in of}

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
    study = of_frame(frame, folder=run, baselines=_baselines(run / BASELINES))
    metric = study.quality.column
    return replace(study, optimism=read_optimism(run, metric), uncertainty=read_uncertainty(run, metric))


def of_frame(
    frame: pd.DataFrame, folder: Path = Path(), baselines: Mapping[str, Mapping[str, float]] | None = None
) -> Study:
    """A study from the rows that `imer_ray.results.schema.read_results` returns, with the study's own words in attrs.

    Raises:
        UserError: columns are missing without which there is no front; others that are missing read as not measured.
    """
    wanted = (OBJECTIVE_PREFIX + str(objective["name"]) for objective in frame.attrs["info"]["objectives"])
    lacking = [column for column in dict.fromkeys((*REQUIRED, *wanted)) if column not in frame]
    if lacking:
        raise UserError(f"the results have no column {', '.join(lacking)}; run the search again to write them anew")
    info, frame = printable_words(frame.attrs["info"]), frame.copy(deep=False)
    frame.attrs = {}  # pandas would copy the words, all of them, in each of its steps
    frame = without_idle(printable_frame(frame.assign(**{column: None for column in COLUMNS if column not in frame})))
    objectives = info["objectives"]
    quality, speed = objectives[:2]
    axes = [quality_axis(quality, frame), speed_axis(speed, frame, baselines or {})]
    for objective in objectives[2:]:
        axes.append(further_axis(objective, frame, baselines or {}, axes))
    return Study(
        name=info["study"],
        frame=frame,
        quality=axes[0],
        speed=axes[1],
        also=tuple(axes[2:]),
        objectives=tuple(OBJECTIVE_PREFIX + objective["name"] for objective in objectives),
        settings=tuple(path for path in info["space"] if _known(frame, CONFIG_PREFIX + path)),
        reference=tuple(objective["reference"] for objective in objectives),
        minimised=tuple(objective["label"] for objective in objectives),
        num_trials=info["num_trials"],
        searcher=info["searcher"],
        constraints=tuple(info.get("constraints", ())),
        folder=folder,
        baselines=baselines or {},
        data=data_of(info, frame),
        protocol=protocol_of(frame),
    )


def _known(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and frame[column].notna().any()


def _setting_order(column: str) -> tuple[int, int, str]:
    setting = column.removeprefix(METRIC_PREFIX).split(".")[0]
    return (len(setting), "lav".find(setting[:1]) if setting[0] in "lav" else 0, column)


def _baselines(path: Path) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            one_line(name): {k: float(v) for k, v in measured.items() if isinstance(v, (int, float)) and np.isfinite(v)}
            for name, measured in content.items()
        }
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, or run the search again to write it anew") from error

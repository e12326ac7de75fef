"""How a study went: its clock, its trials, its hypervolume over time, and what reuse of stages saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imer_ray.analysis.labels import duration
from imer_ray.results import counting
from imer_ray.results.hypervolume import hypervolume_history
from imer_ray.results.proposals import RANDOM, after_start_up
from imer_ray.results.seeds import is_repeat
from imer_ray.results.study import Study


def search_seconds(frame: pd.DataFrame, moments: pd.Series) -> NDArray[np.float64]:
    """Seconds [N] of searching until each moment: time while no trial ran is left out, so a pause shows as nothing."""
    known = frame[["started", "finished"]].dropna()
    starts, ends = (_seconds(known[column]) for column in ("started", "finished"))
    order = starts.argsort()
    spans: list[list[float]] = []
    for start, end in zip(starts[order], ends[order], strict=True):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    times = _seconds(moments)
    passed = [np.clip(times - start, 0, end - start) for start, end in spans]
    return np.sum(passed, axis=0) if passed else np.zeros(len(times))


def hypervolume_over_time(
    study: Study, reference: tuple[float, ...] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(minutes of searching [N + 2], hypervolume [N + 2]): from (0, 0), a step at each point, to the search's end."""
    history = hypervolume_history(study.minimised_of(study.points), reference or study.reference)
    moments = pd.concat([study.points["finished"], pd.Series([study.frame["finished"].max()])])
    minutes = search_seconds(study.frame, moments) / 60
    return np.append(0.0, minutes), np.concatenate([[0.0], history, history[-1:]])


def trials(study: Study) -> pd.DataFrame:
    """One row per trial: status, started and finished in minutes of searching, number of points, reason of failure, who
    proposed it."""
    own = study.frame[~is_repeat(study.frame)]
    frame = own.assign(failed=own["status"] == "failed", one=1)
    grouped = frame.sort_values("point").groupby("trial")
    out = grouped.agg(
        status=("status", "first"),
        points=("one", "sum"),
        error=("error", "first"),
        proposed_by=("proposed_by", "first"),
    )
    for column, which in (("started", "min"), ("finished", "max")):
        out[column] = search_seconds(study.frame, grouped[column].agg(which)) / 60
    return out


def common_reference(studies: Sequence[Study]) -> tuple[float, ...]:
    """The studies' reference point; where they differ the worst of each objective, so that all are measured alike."""
    return tuple(max(values) for values in zip(*(study.reference for study in studies), strict=True))


@dataclass(frozen=True)
class Reuse:
    """What sharing stages saved.

    Attributes:
        kinds: per stage kind ``needed`` (once per point that needs it), ``different`` (keys) and ``executors``.
        computed_s: computing time spent, all points and seeds.
        asked: what trials asked for, counted as everywhere (`imer_ray.results.counting.Reuse`).
    """

    kinds: pd.DataFrame
    computed_s: float
    asked: counting.Reuse

    @property
    def share(self) -> float:
        """Share of the computing that trials asked for which was reused."""
        return self.asked.share


def reuse(study: Study) -> Reuse:
    """Count stages by kind: all of a trial's points need each of its stages."""
    needed: list[tuple[str, str, str]] = []
    for stages, executors in study.frame[["stages", "executors"]].dropna(subset="stages").itertuples(index=False):
        runs_in = json.loads(executors) if isinstance(executors, str) else {}
        for name, key in json.loads(stages).items():
            needed.append((name.partition("[")[0], key, runs_in.get(name, "")))
    table = pd.DataFrame(needed, columns=["kind", "key", "executor"]).groupby("kind", sort=False)
    executors_of = table["executor"].agg(lambda names: ", ".join(sorted(set(names) - {""})))
    kinds = pd.DataFrame({"needed": table.size(), "different": table["key"].nunique(), "executors": executors_of})
    costs = study.frame[["point", "repeat", "seconds_computed", "seconds_reused"]]
    asked = counting.Reuse().and_of(costs.to_dict("records"))
    return Reuse(kinds, float(study.frame["seconds_computed"].astype(float).sum()), asked)


def reuse_statement(study: Study) -> str:
    """What sharing stages saved, in a sentence or two."""
    saved = reuse(study)
    needed, different = int(saved.kinds["needed"].sum()), int(saved.kinds["different"].sum())
    return (
        f"The points needed {needed} stages, {different} of them different, computed in {duration(saved.computed_s)}. "
        f"Of the {duration(saved.asked.total_s)} of computing that the trials' own points asked for, "
        f"{100 * saved.share:.0f} % was reused."
    )


def drawn_at_random(study: Study) -> str:
    """How many of the proposals after the start-up were drawn at random, in words; empty if there are none."""
    proposed_by = trials(study)["proposed_by"].dropna().tolist()
    later = after_start_up(proposed_by)
    return f"{later.count(RANDOM)} of {len(later)} proposals after the start-up drawn at random" if later else ""


def _seconds(moments: pd.Series) -> NDArray[np.float64]:
    return (pd.to_datetime(moments, utc=True) - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(float)

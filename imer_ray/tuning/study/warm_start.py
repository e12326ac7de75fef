"""What a study may know of another one: its results where they are results here too, else only where to look first."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna import Study

from imer_ray.config.resolve import resolve
from imer_ray.config.tree import flatten
from imer_ray.errors import UserError
from imer_ray.results.pareto import pareto_front
from imer_ray.results.schema import CONFIG_PREFIX, RESULTS, read_results
from imer_ray.results.words import json_object
from imer_ray.tuning.objectives.outcome import Outcome, finished_trial
from imer_ray.tuning.searchers import DERIVED
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study.journal_entry import LEARNT, SOURCES

Configure = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What there is to learn from another study.

    Attributes:
        source: the absolute path that it was read from.
        results: complete rows that a trial of this study would repeat, judged by this study.
        points: values of this space that were on the other study's front, but measured under other settings.
        num_others: complete points that have no place in this space, or were not measured as this study wants.
    """

    source: str
    results: tuple[Mapping[str, Any], ...]
    points: tuple[Mapping[str, Any], ...]
    num_others: int

    def __str__(self) -> str:
        said = [f"{len(self.results)} results taken over"]
        if self.points:
            said.append(
                f"{len(self.points)} configurations of its front, measured under other settings, proposed first"
            )
        if self.num_others:
            said.append(f"{self.num_others} points left out that this study could not have")
        return f"warm start from {self.source}: {', '.join(said)}"

    def teach(self, study: Study, space: Space, outcome: Outcome) -> None:
        """Add the results to a study, each once, and note the source when all are there."""
        known = [trial.user_attrs.get(LEARNT) for trial in study.get_trials(deepcopy=False)]
        for row in self.results:
            mark = [self.source, int(row["trial"]), int(row["point"])]
            attributes = {LEARNT: mark, **({DERIVED: None} if row["point"] else {})}
            if mark not in known and (trial := finished_trial(row, space, outcome, attributes)) is not None:
                study.add_trial(trial)
        study.set_user_attr(SOURCES, [*sources(study), self.source])


def results_file(source: str) -> Path:
    """Of a study's folder, or its results.parquet."""
    path = Path(source)
    return path if path.suffix == ".parquet" else path / RESULTS


def sources(study: Study) -> list[str]:
    """What a study has learnt from so far."""
    return list(study.user_attrs.get(SOURCES, []))


def lessons(
    source: str, space: Space, outcome: Outcome, configure: Configure, identify: Callable[[Mapping[str, Any]], str]
) -> Lessons:
    """Read another study's folder, or its results.parquet.

    A row is a result here if the configuration that this study has at its values is the row's in all that matters to a
    result: data, protocol, settings that are not searched. ``identify`` says so, for it names what an evaluation stands
    on. Objectives and constraints are this study's, from the row's columns.

    Raises:
        UserError: there are no results, or they cannot be read.
    """
    frame = read_results(results_file(source))
    frame = frame[frame["repeat"].fillna(0) == 0] if "repeat" in frame else frame
    results, elsewhere, num_others = [], [], 0
    for columns in frame[frame["status"] == "complete"].to_dict("records"):
        row = outcome.judged({name: columns[name] for name in columns if _tells(name, columns[name])})
        config = _config(row)
        values = None if config is None else space.locate(flatten(config))
        if config is None or values is None or row["status"] != "complete":
            num_others += 1
        elif _same(configure(values), config, identify):
            results.append(row)
        else:
            elsewhere.append((row, values))
    points = tuple(_front(elsewhere, outcome))
    return Lessons(source=os.path.abspath(source), results=tuple(results), points=points, num_others=num_others)


def _same(here: Mapping[str, Any], there: Mapping[str, Any], identify: Callable[[Mapping[str, Any]], str]) -> bool:
    """Whether the configurations give the same results: on the same data, as the stages' keys say of all else."""
    return here["data_fingerprint"] == there["data_fingerprint"] and identify(here) == identify(there)


def _front(rows: list[tuple[dict[str, Any], dict[str, Any]]], outcome: Outcome) -> list[dict[str, Any]]:
    feasible = [(outcome.values(row), values) for row, values in rows if row["feasible"]]
    if not feasible:
        return []
    on_front = pareto_front(np.array([objectives for objectives, _ in feasible]))
    return [values for (_, values), best in zip(feasible, on_front, strict=True) if best]


def _config(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row's configuration; None if this version has no such settings any more, or it is none."""
    try:
        return resolve(json_object(row["config"], "config"))
    except (UserError, ValueError):
        return None


def _tells(name: str, value: Any) -> bool:
    """Whether a column says what was measured of what; how it was judged is for this study to say."""
    judged = name in ("status", "feasible", "error") or name.startswith((CONFIG_PREFIX, "objective."))
    return not judged and value is not None and value == value

"""How sure the qualities of a front are, and which of its picks the validation clips tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from imer_ray.results.findings import read_finding, write_finding
from imer_ray.results.seeds import NUM_SEEDS, bounds

UNCERTAINTY = "uncertainty.json"  # in a study's folder


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of the qualities of two picks on the same clips, or of a pick and a baseline.

    Attributes:
        first, second: the points, as `point_name` calls them; the second may be a baseline.
        difference: the first's quality less the second's, in the metric's own units.
        half_width: of its interval, which all pairs of picks keep together.
    """

    first: str
    second: str
    difference: float
    half_width: float

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.difference) > self.half_width


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Over another draw of as many validation clips.

    Attributes:
        metric: the column that quality is computed from.
        half_widths: point on the front that was run with one seed -> half the width of its quality's 95 % interval.
        pairs: of the picks.
        rivals: of the best pick and each baseline, where they were compared on further clips.
        num_folds: further sets of clips that pairs and rivals were compared on; 0: those that the picks were chosen on.
        num_clips: of these sets together.
    """

    metric: str
    half_widths: Mapping[str, float]
    pairs: tuple[Difference, ...]
    rivals: tuple[Difference, ...] = ()
    num_folds: int = 0
    num_clips: int = 0


def point_name(row: pd.Series | Mapping[str, Any]) -> str:
    """``12.0`` for the first point of trial 12, as a key of JSON."""
    return f"{row['trial']:.0f}.{0 if pd.isna(row['point']) else row['point']:.0f}"


def with_intervals(points: pd.DataFrame, found: Uncertainty) -> pd.DataFrame:
    """The points with the ends of their qualities' intervals over clips, where seeds give none."""
    low, high = bounds(found.metric)
    names = [point_name(row) for row in points[["trial", "point"]].to_dict("records")]
    half = pd.Series([found.half_widths.get(name, math.nan) for name in names], points.index, dtype=float)
    half = half.where(points[NUM_SEEDS] == 1)
    quality = points[found.metric].astype(float)
    return points.assign(**{low: points[low].fillna(quality - half), high: points[high].fillna(quality + half)})


def write_uncertainty(folder: Path, found: Uncertainty) -> None:
    """Write it beside the results."""
    write_finding(folder / UNCERTAINTY, found)


def read_uncertainty(folder: Path, metric: str) -> Uncertainty | None:
    """What `write_uncertainty` wrote into a study's folder; None if nothing, or of another ``metric``.

    Raises:
        UserError: the file is damaged.
    """
    return read_finding(folder / UNCERTAINTY, metric, _parsed)


def _parsed(content: Mapping[str, Any]) -> Uncertainty:
    half_widths = {str(name): float(half) for name, half in content["half_widths"].items()}
    pairs, rivals = (tuple(map(_difference, content.get(name, ()))) for name in ("pairs", "rivals"))
    differences = [number for pair in (*pairs, *rivals) for number in (pair.difference, pair.half_width)]
    if not all(map(math.isfinite, [*half_widths.values(), *differences])):
        raise ValueError("its numbers are none")
    counts = {name: int(content.get(name, 0)) for name in ("num_folds", "num_clips")}
    return Uncertainty(**{**content, **counts, "half_widths": half_widths, "pairs": pairs, "rivals": rivals})


def _difference(content: Mapping[str, Any]) -> Difference:
    return Difference(**{**content, **{name: float(content[name]) for name in ("difference", "half_width")}})

"""Short names and numbers that people read."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from imer_ray.results.axes import Axis
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.seeds import NUM_SEEDS, bounds
from imer_ray.results.study import Study
from imer_ray.results.text_encoder import SHAPES
from imer_ray.results.text_encoder import with_encoder as speedup_with_encoder

Value = str | bool | int | float | None
ABSENT = "–"
MAIN_GROUP = "diffusion"  # what nearly all settings belong to goes without saying


def short(path: str) -> str:
    """A configuration path by its last two parts: ``diffusion.sde.sigma`` is ``sde.sigma``."""
    return ".".join(path.split(".")[-2:]).removeprefix(MAIN_GROUP + ".")


def number(value: Value, digits: int = 3) -> str:
    """``digits`` significant digits, without exponents up to millions; a dash for what is missing."""
    if value is None or pd.isna(value):
        return ABSENT
    if isinstance(value, (str, bool)):
        return str(value)
    value = float(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    if exponent >= 6:
        power = next(p for p in (12, 9, 6) if exponent >= p)
        return number(value / 10**power, digits) + {12: " T", 9: " G", 6: " M"}[power]
    if exponent < -4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def setting(value: Value) -> str:
    """A configuration value: whole numbers whole, others to three digits."""
    if value is None or pd.isna(value):
        return ABSENT
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"
    return str(value)


def broken(study: Study) -> str:
    """How many complete points break which constraints."""
    count, limits = len(study.infeasible), " or ".join(study.constraints)
    return f"{count} point breaks {limits}" if count == 1 else f"{count} points break {limits}"


def measured(axis: Axis, value: Value) -> str:
    return cost(axis.column, value) + (axis.unit if not pd.isna(value) else "")


def cost(column: str, value: Value) -> str:
    """A measured number; network evaluations are counted, and so whole."""
    return setting(value) if column == "nfe" else number(value)


def with_encoder(study: Study, column: str, value: Value) -> str:
    """What is left of a speedup where both sides run a text encoder; a dash for what is no speedup or not measured."""
    if column not in SHAPES or not isinstance(value, (int, float)) or pd.isna(value):
        return ABSENT
    return f"{number(speedup_with_encoder(column, value, study.data.frames if study.data else 0), 2)}×"


def interval(axis: Axis, row: pd.Series) -> str:
    """``0.772–0.796``: the ends of the 95 % interval of a point's objective; a dash where it is not known."""
    low, high = (number(row[end]) for end in bounds(axis.column))
    return ABSENT if ABSENT in (low, high) else f"{low}–{high}"


def has_interval(axis: Axis, points: pd.DataFrame) -> bool:
    """Whether the interval of any of the points is known."""
    return bool(points[bounds(axis.column)[0]].notna().any())


def attained(study: Study, index: int) -> str:
    """``3 of 5``: on how many of its seeds' fronts a point is; a dash for a single seed."""
    times = study.attained[index]
    return ABSENT if pd.isna(times) else f"{times:.0f} of {study.points.loc[index, NUM_SEEDS]:.0f}"


def duration(seconds: float) -> str:
    """``42 s``, ``4 min 07 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 or whole == seconds else f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def settings_of(study: Study, row: pd.Series) -> Iterator[tuple[str, str]]:
    """(path, value) of the searched settings that this point has."""
    for path in study.settings:
        value = row[CONFIG_PREFIX + path]
        if not pd.isna(value):
            yield path, setting(value)


def title(row: pd.Series) -> str:
    """``trial 12``, or ``trial 12.1`` for the first of the further points scored with the same networks."""
    return f"trial {row['trial']:.0f}" + (f".{row['point']:.0f}" if row["point"] and row["point"] > 0 else "")

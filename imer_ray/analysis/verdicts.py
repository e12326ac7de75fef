"""What the numbers of a front do not show by themselves: what they are measured on, and what beats or equals the picks.

One sentence each, the same for the terminal and the page.
"""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from imer_ray.analysis.labels import measured
from imer_ray.results import text_encoder
from imer_ray.results.axes import Axis
from imer_ray.results.study import Study
from imer_ray.results.uncertainty import Difference, point_name

SHARES = ("acc_2", "acc_5", "acc_7", "F1_score")  # endings of the metrics that are shares of clips, or weighted F1


def standard_error(study: Study, point: pd.Series) -> float | None:
    r"""Of a point's quality over another draw of as many clips: mean_k sqrt(p_k (1 - p_k) / n_k) over its settings k.

    p_k is the accuracy, or the weighted F1 (which behaves like one where the classes are of a size), on n_k clips. The
    settings share their clips, so this bounds the standard error of their mean from above. None for a metric that is no
    such share, and where the number of clips is not known.
    """
    if not study.quality.column.endswith(SHARES) or study.data is None or not study.data.scored:
        return None
    errors = []
    for setting, count in study.data.scored.items():
        share = point.get(study.patterns.get(setting, study.quality.column))
        share = point[study.quality.column] if share is None or pd.isna(share) else share
        errors.append(math.sqrt(max(0.0, share * (1.0 - share)) / count))
    return sum(errors) / len(errors)


def near_best(study: Study) -> str | None:
    """How many points the clips let be the best; None if that is not known."""
    if study.front.empty or study.data is None or not study.data.scored:
        return None
    best = study.front.iloc[0]
    half_width = study.uncertainty.half_widths.get(point_name(best)) if study.uncertainty else None
    error = standard_error(study, best) if half_width is None else half_width
    if error is None:
        return None
    counts, quality = study.data.scored.values(), study.points[study.quality.column].astype(float)
    near = (quality - float(best[study.quality.column])).abs() < error
    clips = f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    sure = "has a standard error of" if half_width is None else "is known to ±"
    said = f"{study.quality.name} on {clips} clips {sure} {error:.3f}"
    said += f": {int(near.sum())} of {len(near)} points lie within it of the best"
    others = [name for name, index in study.picks.items() if name != "quality" and near[index]]
    if others and study.uncertainty is None:
        said += f", and {_listed(others)} cannot be told apart from quality"
    return said


def told_apart(study: Study) -> str | None:
    """Which picks have qualities that the clips do not tell apart, or that they tell all; None if it is not known."""
    pairs = list(_pairs(study))
    if not pairs:
        return None
    scale, digits, unit = _in_points(study)
    said = [
        (names, f"{scale * abs(found.difference):.{digits}f} ± {scale * found.half_width:.{digits}f}", found)
        for names, found in pairs
    ]
    ties = [(names, figures) for names, figures, found in said if not found.is_told_apart]
    where = _further_clips(study, "them")
    if not ties:
        each = ", ".join(f"{names} by {figures}" for names, figures, _ in said)
        return f"{where}the picks are told apart in quality: {each} {unit}"
    (first, figures), *others = ties
    further = "".join(f", nor can {names} ({figures})" for names, figures in others)
    return f"{where}{first} cannot be told apart in quality (difference {figures} {unit}){further}"


def _further_clips(study: Study, chosen: str) -> str:
    found = study.uncertainty
    return f"on {found.num_clips} clips that did not choose {chosen}, " if found and found.num_folds else ""


def against_rivals(study: Study) -> str | None:
    """By how much the best pick reads better than the baselines on further clips; None if it is not known."""
    pairs = study.uncertainty.rivals if study.uncertainty else ()
    best = point_name(study.front.iloc[0]) if not study.front.empty else None
    scale, digits, unit = _in_points(study)
    sign = 1 if study.quality.higher_is_better else -1
    said = [
        f"{scale * abs(pair.difference):.{digits}f} ± {scale * pair.half_width:.{digits}f} {unit} "
        f"{'better' if sign * pair.difference >= 0 else 'worse'} than {pair.second}"
        + ("" if pair.is_told_apart else " (no more than luck can do)")
        for pair in pairs
        if pair.first == best
    ]
    return f"{_further_clips(study, 'it')}quality is {_listed(said)}" if said else None


def _pairs(study: Study) -> Iterator[tuple[str, Difference]]:
    """The pairs of picks whose difference is known, by their names."""
    names = {point_name(study.points.loc[index]): name for name, index in study.picks.items()}
    for pair in study.uncertainty.pairs if study.uncertainty else ():
        if pair.first in names and pair.second in names:
            yield f"{names[pair.first]} and {names[pair.second]}", pair


def selection(study: Study) -> str | None:
    """How much of the picks' quality is the luck of the clips that chose them; None if that is not known."""
    if study.optimism is None or not study.picks:
        return None
    scale, digits, unit = _in_points(study)
    lost = {name: scale * study.optimism.by_pick[name] for name in study.picks}
    mean = sum(lost.values()) / len(lost)
    if mean <= 0:
        return "picks that are chosen on one half of the validation clips are as good on the other half"
    each = ", ".join(f"{name} {value:.{digits}f}" for name, value in lost.items())
    return (
        f"the picks' validation quality is optimistic by about {mean:.{digits}f} {unit} ({each}): chosen on one half "
        "of the clips, they lose as much on the other"
    )


def rivals(study: Study) -> Iterator[str]:
    """A sentence for the baselines that beat the same points of the study, with the figures of the picks among these,
    and for every other one that has the best quality."""
    if study.points.empty:
        return
    axes = (study.speed, study.quality, *study.also)
    points = study.points[[study.speed.column, study.quality.column]]
    ours = np.column_stack([_minimised(axis, study.points[axis.column]) for axis in axes])
    beating, better = defaultdict(list), []
    for name, at in study.rivals.items():
        beside = study.baselines[name]  # what was not measured of it beats nothing
        theirs = np.array([_minimised(axis, pd.Series([beside.get(axis.column, np.nan)]))[0] for axis in axes])
        beaten = (theirs <= ours).all(1) & (theirs < ours).any(1)
        if beaten.any():
            beating[tuple(points.index[beaten])].append(_named(study, name, *at))
        elif theirs[1] < ours[:, 1].min():
            better.append(f"{name} has a better {study.quality.name} ({measured(study.quality, at[1])}) than any point")
    for beaten_points, names in beating.items():
        picks = [_named(study, pick, *points.loc[i]) for pick, i in study.picks.items() if i in beaten_points]
        among = f", among them {_listed(picks)}" if picks else ""
        verb = "dominates" if len(names) == 1 else "dominate"
        yield f"{_listed(names)} {verb} {len(beaten_points)} of {len(points)} points{among}"
    yield from better


def speed(study: Study) -> str | None:
    """What the best speedup is of, with the text encoder and against the published code; None if speed is no such."""
    column = study.speed.column
    if column not in text_encoder.SHAPES or study.front.empty:
        return None
    frames = study.data.frames if study.data else 0
    return text_encoder.sentence(column, float(study.points.loc[study.every_pick["speed"], column]), frames)


def machines(study: Study) -> str | None:
    """Which hardware the times are of, where that is known; where it is more than one, their points compare less."""
    points = study.points
    if "machine" not in points or not (counts := points["machine"].dropna().value_counts()).size:
        return None
    if len(counts) == 1 and " or " not in counts.index[0]:
        return f"times were measured on {counts.index[0]}"
    said = "; ".join(f"{name} ({count} points)" for name, count in counts.items())
    return f"times were measured on different hardware, so that points may stand on the front for theirs: {said}"


def next_command(study: Study) -> str:
    """How to go on from a front."""
    return f"python -m imer_ray.train config={shlex.quote(str(study.folder / 'export' / 'quality.yaml'))}"


def lines(study: Study) -> list[str]:
    """All there is to say below the table on a terminal."""
    sure = "; ".join(said for said in (near_best(study), told_apart(study)) if said)
    of_picks = sure, against_rivals(study), selection(study), speed(study), machines(study)
    return [said for said in (*rivals(study), *of_picks) if said]


def _in_points(study: Study) -> tuple[float, int, str]:
    """By how much to multiply a difference in quality, its digits, and what it then is of."""
    is_share = study.quality.column.endswith(SHARES)
    return (100.0, 1, f"points of {study.quality.name}") if is_share else (1.0, 3, f"in {study.quality.name}")


def _named(study: Study, name: str, speed: float, quality: float) -> str:
    """``masked (0.795, 400×)``."""
    return f"{name} ({measured(study.quality, quality)}, {measured(study.speed, speed)})"


def _minimised(axis: Axis, values: pd.Series) -> pd.Series:
    return (-1.0 if axis.higher_is_better else 1.0) * values.astype(float)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

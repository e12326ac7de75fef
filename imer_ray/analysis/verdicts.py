"""What the numbers of a front do not show by themselves: what they are measured on, and what beats or equals the picks.

One sentence each, the same for the terminal and the page.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence

import pandas as pd

from imer_ray.analysis.labels import measured
from imer_ray.results import text_encoder
from imer_ray.results.axes import Axis
from imer_ray.results.study import Study

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


def told_apart(study: Study) -> str | None:
    """How far the clips tell points apart, and which picks they do not; None if that is not known."""
    if study.front.empty or study.data is None or (error := standard_error(study, study.front.iloc[0])) is None:
        return None
    counts, quality = study.data.scored.values(), study.points[study.quality.column].astype(float)
    best = float(study.front[study.quality.column].iloc[0])
    near = (quality - best).abs() < error
    within = f"{int(near.sum())} of {len(near)} points lie within it of the best"
    clips = f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    said = f"{study.quality.name} on {clips} clips has a standard error of {error:.3f}: {within}"
    others = [name for name, index in study.picks.items() if name != "quality" and near[index]]
    return said + (f", and {_listed(others)} cannot be told apart from quality" if others else "")


def selection(study: Study) -> str | None:
    """How much of the picks' quality is the luck of the clips that chose them; None if that is not known."""
    if study.optimism is None or not study.picks:
        return None
    is_share = study.quality.column.endswith(SHARES)
    lost = {name: (100 if is_share else 1) * study.optimism.by_pick[name] for name in study.picks}
    digits, unit = (1, f"points of {study.quality.name}") if is_share else (3, f"in {study.quality.name}")
    mean = sum(lost.values()) / len(lost)
    if mean <= 0:
        return "picks that are chosen on one half of the validation clips are as good on the other half"
    each = ", ".join(f"{name} {value:.{digits}f}" for name, value in lost.items())
    return (
        f"the picks' validation quality is optimistic by about {mean:.{digits}f} {unit} ({each}): chosen on one half "
        "of the clips, they lose as much on the other"
    )


def rivals(study: Study) -> Iterator[str]:
    """A sentence for every baseline that beats points of the study."""
    if study.points.empty:
        return
    speed, quality = (_minimised(axis, study.points[axis.column]) for axis in (study.speed, study.quality))
    for name, at in study.rivals.items():
        fast, good = (_minimised(axis, pd.Series([value]))[0] for axis, value in zip(_axes(study), at, strict=True))
        beaten = (fast <= speed) & (good <= quality) & ((fast < speed) | (good < quality))
        if beaten.any():
            picks = [pick for pick, index in study.picks.items() if beaten[index]]
            among = f", among them {_listed(picks)}" if picks else ""
            yield f"{name} dominates {int(beaten.sum())} of {len(beaten)} points{among}"
        elif good < quality.min():
            yield f"{name} has a better {study.quality.name} ({measured(study.quality, at[1])}) than any point"


def speed(study: Study) -> str | None:
    """What the best speedup is of, with the text encoder and against the published code; None if speed is no such."""
    column = study.speed.column
    if column not in text_encoder.SHAPES or study.front.empty:
        return None
    frames = study.data.frames if study.data else 0
    return text_encoder.sentence(column, float(study.front[column].iloc[-1]), frames)


def next_command(study: Study) -> str:
    """How to go on from a front."""
    return f"python -m imer_ray.train config={shlex.quote(str(study.folder / 'export' / 'quality.yaml'))}"


def lines(study: Study) -> list[str]:
    """All there is to say below the table on a terminal."""
    return [said for said in (*rivals(study), told_apart(study), selection(study), speed(study)) if said]


def _axes(study: Study) -> tuple[Axis, Axis]:
    return study.speed, study.quality


def _minimised(axis: Axis, values: pd.Series) -> pd.Series:
    return (-1.0 if axis.higher_is_better else 1.0) * values.astype(float)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

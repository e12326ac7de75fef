"""How sure the qualities of a front are, and which of its picks the validation clips tell apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imer_ray.evaluation.significance import LEVEL, Floats, holm, jackknife, paired_half_width, paired_p_value
from imer_ray.results.schema import METRIC_PREFIX, WORST
from imer_ray.results.study import Study
from imer_ray.results.uncertainty import Difference, Uncertainty, point_name
from imer_ray.tuning.study.clip_quality import Quality
from imer_ray.tuning.study.cross_validation import CrossValidated


@dataclass(frozen=True)
class Sample:
    """A quality of all labelled clips, and without each of G groups of them [G]."""

    value: float
    replicates: Floats


Seeds = Mapping[float, Sample]


def uncertainty(
    study: Study,
    qualities: Sequence[Mapping[float, Quality]] | None,
    known: Tensor,
    validated: CrossValidated | None = None,
) -> Uncertainty | None:
    """Of the qualities of the points on the front; None where they are not known, or where a jackknife says nothing of
    them, as of the worst setting, which does not change smoothly with the clips.

    Picks are compared on further clips where they were evaluated on these, and else on those that chose them.

    Args:
        qualities: of each point on the front, with each of its seeds. known: the clips [n] that have a label.
        validated: the picks and the baselines on further clips.
    """
    column = study.quality.column
    if not qualities or len(known) < 2 or column.startswith(f"{METRIC_PREFIX}{WORST}."):
        return None
    found = {
        point_name(row): {seed: _sampled(quality, known) for seed, quality in seeds.items()}
        for row, seeds in zip(study.front.to_dict("records"), qualities, strict=True)
    }
    picks = {name: found[name] for name in (point_name(study.points.loc[index]) for index in study.picks.values())}
    alone = {name: next(iter(seeds.values())) for name, seeds in found.items() if len(seeds) == 1}
    halves = {name: _half_width([one]) for name, one in alone.items()}
    chosen_on = Uncertainty(
        metric=column,
        half_widths={name: half for name, half in halves.items() if math.isfinite(half)},
        pairs=tuple(compare(picks)),
    )
    return (
        chosen_on if validated is None else replace(chosen_on, **on_folds(validated, point_name(study.front.iloc[0])))
    )


def on_folds(validated: CrossValidated, best: str) -> dict[str, Any]:
    """Differences over folds that share no clips, so that each fold's is one draw of a paired t-test.

    The folds' training clips overlap, for which the test knows no remedy: its intervals are somewhat too narrow.
    Dietterich, Approximate statistical tests for comparing supervised classification learning algorithms, Neural
    Computation 1998, section 3.4.
    """
    picks, baselines = (
        {name: {fold: Sample(value, np.full(2, value)) for fold, value in of.items()} for name, of in group.items()}
        for group in (validated.picks, validated.baselines)
    )
    rivals = [pair for name, of in baselines.items() for pair in compare({best: picks[best], name: of})]
    num_folds = len(next(iter(picks.values())))
    pairs = tuple(compare(picks))
    return {"pairs": pairs, "rivals": tuple(rivals), "num_folds": num_folds, "num_clips": validated.num_clips}


def compare(picks: Mapping[str, Seeds]) -> list[Difference]:
    """The difference of every two points on the seeds that both were run with, and its interval.

    Holm's procedure at 5 % leaves k of the pairs not told apart. All intervals are of level 1 - 0.05 / max(k, 1):
    those of these k contain 0, since their p-values are above 0.05 / k, and those of the others do not. Pairs without
    a common seed, or with a quality that is not known without some of the clips, are left out.
    """
    samples, p_values = {}, {}
    for pair in itertools.combinations(picks, 2):
        first, second = (picks[name] for name in pair)
        differences = [_less(sample, second[seed]) for seed, sample in first.items() if seed in second]
        if differences and not math.isnan(p_value := paired_p_value(*_stacked(differences))):
            samples[pair], p_values["-".join(pair)] = differences, p_value
    num_open = sum(p_value > 1 - LEVEL for p_value in holm(p_values).values())
    level = 1 - (1 - LEVEL) / max(num_open, 1)
    return [
        Difference(
            first=first,
            second=second,
            difference=float(np.mean([one.value for one in differences])),
            half_width=_half_width(differences, level),
        )
        for (first, second), differences in samples.items()
    ]


def _sampled(quality: Quality, known: Tensor) -> Sample:
    without = jackknife(lambda kept: {"quality": quality(known[torch.from_numpy(kept)])}, len(known))
    return Sample(quality(known), without["quality"])


def _less(first: Sample, second: Sample) -> Sample:
    return Sample(first.value - second.value, first.replicates - second.replicates)


def _stacked(samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    return np.array([sample.value for sample in samples]), np.stack([sample.replicates for sample in samples])


def _half_width(samples: Sequence[Sample], level: float = LEVEL) -> float:
    return paired_half_width(*_stacked(samples), level)

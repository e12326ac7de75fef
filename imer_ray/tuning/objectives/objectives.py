"""What a study minimises: quality, speed and what else it names, flipped here and nowhere else, each with a reference.

The reference point is the worst value that still counts in a hypervolume. It never depends on the data of a study, so
that studies with the same objectives can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from imer_ray.errors import UserError, hint
from imer_ray.results.schema import METRIC_PREFIX, SUMMARIES, Objective

Transform = Callable[[float], float]


class NotMeasured(Exception):
    """A trial's objective is missing or not finite: the trial has failed."""


def _one_minus(value: float) -> float:
    return 1.0 - value


def _same(value: float) -> float:
    return value


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan


def _minus_log10(value: float) -> float:
    return -_log10(value)


def _log10_1p(value: float) -> float:
    return _log10(1.0 + value)


# metric -> (minimised form, its label, reference): a coin flip for two classes, no correlation, MAE 3 of [-3, 3], and
# as much of CRPS, which is MAE where nothing is left open; of NLL, what any label in [-3, 3] being as likely costs
_QUALITY: Mapping[str, tuple[Transform, str, float]] = {
    **{name: (_one_minus, "1 - {}", 0.5) for name in ("Has0_acc_2", "Has0_F1_score", "Non0_acc_2", "Non0_F1_score")},
    **{name: (_one_minus, "1 - {}", 1.0) for name in ("Mult_acc_5", "Mult_acc_7", "Corr")},
    **{name: (_same, "{}", 3.0) for name in ("MAE", "CRPS")},
    "NLL": (_same, "{} (nats)", math.log(6.0)),
}

METRICS = tuple(_QUALITY)  # of quality, each in a column of the results

# study.speed -> (column, minimised form, label, reference): IMDer itself, which takes 100 network evaluations and, on
# clips of MOSI's shape with one modality missing, 6.6e9 FLOPs
_SPEED: Mapping[str, tuple[str, Transform, str, float]] = {
    "latency": ("speedup_vs_imder", _minus_log10, "log10(latency / IMDer's latency)", 0.0),
    "latency_b1": ("speedup_vs_imder_b1", _minus_log10, "log10(latency of one clip / IMDer's)", 0.0),
    "flops": ("flops_per_clip", _log10, "log10(FLOPs per clip)", 10.0),
    "nfe": ("nfe", _log10_1p, "log10(1 + network evaluations)", math.log10(101.0)),
}
# study.also -> the same; up to a hundred million weights
_COSTS = {**_SPEED, "num_parameters": ("num_parameters", _log10, "log10(parameters)", 8.0)}


def objectives(quality: str, speed: str, also: Sequence[str] = ()) -> tuple[Objective, ...]:
    """(quality, speed, further ones in their order) of a study's settings ``study.quality``, ``speed`` and ``also``.

    ``study.quality`` is a metric's name (its mean over the protocol's settings), ``<setting>.<metric>``,
    ``worst.<metric>`` or ``AUILC.<metric>`` (see `imer_ray.evaluation.score.summaries`). A further objective is such a
    metric, ``worst`` or ``AUILC`` of the quality's metric, or a cost: ``latency``, ``latency_b1``, ``flops``, ``nfe``
    or ``num_parameters``.

    Raises:
        UserError: there is no such metric, or an objective is named twice.
    """
    column, _, speed_label, speed_reference = _SPEED[speed]
    found = [
        _of_metric("quality", quality, f"study.quality={quality}", _QUALITY),
        Objective(name="speed", metric=column, label=speed_label, reference=speed_reference),
    ]
    for given in also:
        name = f"{given}.{quality.rpartition('.')[2]}" if given in SUMMARIES else given
        if name in _COSTS:
            column, _, label, reference = _COSTS[name]
            one = Objective(name=name, metric=column, label=label, reference=reference)
        else:
            one = _of_metric(name, name, f"study.also={given}", (*_COSTS, *SUMMARIES, *_QUALITY))
        if any(one.metric == other.metric for other in found):
            raise UserError(f"study.also={given}: {one.metric} is an objective already; leave it out")
        found.append(one)
    return tuple(found)


def _of_metric(name: str, asked: str, said: str, known: Iterable[str]) -> Objective:
    metric = asked.rpartition(".")[2]
    if metric not in _QUALITY:
        raise UserError(f"{said}: unknown metric; {hint(metric, known)}")
    _, label, reference = _QUALITY[metric]
    return Objective(name=name, metric=METRIC_PREFIX + asked, label=label.format(asked), reference=reference)


def is_cost(objective: Objective) -> bool:
    """Whether it is what a prediction takes, known before anything is trained, and not how good it is."""
    return not objective.metric.startswith(METRIC_PREFIX)


def minimised(metrics: Mapping[str, float], wanted: Sequence[Objective]) -> tuple[float, ...]:
    """The objectives' values, in order, from a point's metrics.

    Raises:
        NotMeasured: a metric is missing, or its value or its minimised form is not finite.
    """
    values = []
    for objective in wanted:
        if objective.metric not in metrics:
            raise NotMeasured(f"{objective.metric} was not measured")
        value = float(metrics[objective.metric])
        result = _transform(objective)(value)
        if not math.isfinite(result):
            raise NotMeasured(f"{objective.metric} is {value}")
        values.append(result)
    return tuple(values)


def _transform(objective: Objective) -> Transform:
    if not is_cost(objective):
        return _QUALITY[objective.metric.rpartition(".")[2]][0]
    return next(transform for column, transform, _, _ in _COSTS.values() if column == objective.metric)

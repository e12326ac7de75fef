"""Predictive distributions of a trained model under a protocol, and what they are worth; see `predictive`.

The noise scale of each pattern of available modalities is fitted on validation clips. Where validation clips themselves
are scored, each half of them has the scales that the other half gave (cross-fitting), so that no clip is judged by a
scale that has seen its label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import seeded
from imer_ray.evaluation.predict import Drawn, Inference, draw_protocol
from imer_ray.evaluation.predictive import likeliest_scale, predictive_metrics
from imer_ray.models.model import EmotionModel
from imer_ray.models.pattern_model import by_pattern
from imer_ray.training.losses import has_label

VALID = "valid"
MIN_CLIPS = 10  # of a pattern that has a scale of its own; of fewer, it is that of all patterns together

ClipMetrics = dict[str, dict[str, Tensor]]
"""Setting -> metric -> [N], NaN where a clip is not scored."""


@dataclass(frozen=True)
class Forecasts:
    """Of the N clips of a split under each setting of a protocol.

    Attributes:
        labels: [N], float64. available: {setting: [N, M]}. draws: {setting: [N, S]}, float64.
    """

    labels: Tensor
    available: Mapping[str, Tensor]
    draws: Mapping[str, Tensor]

    @classmethod
    def of(cls, drawn: Mapping[str, Drawn], dataset: Dataset, split: str, protocol: Any, seed: int) -> Forecasts:
        return cls(
            labels=dataset.labels(split).double(),
            available={s: dataset.under(protocol, s, split, seed).recorded(split) for s in drawn},
            draws={setting: of_setting.draws.double() for setting, of_setting in drawn.items()},
        )

    def scales(self, clips: Tensor) -> Scales | None:
        """Fitted on those of ``clips`` [N] that have a label; None if there are none."""
        found: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for setting, available in self.available.items():
            kept = clips & self._scored(setting)
            for pattern, rows in by_pattern(available & kept[:, None]):
                found.setdefault(pattern, []).append((self.labels[rows], self.draws[setting][rows]))
        if not found:
            return None
        of_pattern = {p: tuple(torch.cat(parts) for parts in zip(*pairs, strict=True)) for p, pairs in found.items()}
        together = likeliest_scale(*(torch.cat(parts) for parts in zip(*of_pattern.values(), strict=True)))
        own = {p: likeliest_scale(y, draws) for p, (y, draws) in of_pattern.items() if len(y) >= MIN_CLIPS}
        return Scales(together, own)

    def metrics(self, scales: Scales) -> ClipMetrics:
        """`predictive_metrics` of every labelled clip."""
        out: ClipMetrics = {}
        for setting, available in self.available.items():
            rows = self._scored(setting)
            values = predictive_metrics(self.labels[rows], self.draws[setting][rows], scales.of_clips(available[rows]))
            for name, value in values.items():
                out.setdefault(setting, {})[name] = torch.full_like(self.labels, torch.nan)
                out[setting][name][rows] = value
        return out

    def cross_fitted_metrics(self) -> ClipMetrics:
        """As `metrics`, each half of the clips with the scales of the other; empty if a half has no label."""
        first = halves(self.labels)
        scales = {own: self.scales(first != own) for own in (True, False)}  # of the half that is not scored
        if (of_first := scales[True]) is None or (of_second := scales[False]) is None:
            return {}
        a, b = self.metrics(of_first), self.metrics(of_second)
        return {s: {name: torch.where(first, a[s][name], b[s][name]) for name in a[s]} for s in a}

    def _scored(self, setting: str) -> Tensor:
        return has_label(self.labels) & self.draws[setting].isfinite().all(1)


@dataclass(frozen=True)
class Scales:
    """Noise scales: of all patterns together, and of those with enough clips."""

    together: float
    own: Mapping[str, float]

    def of_clips(self, available: Tensor) -> Tensor:
        """[N] of clips of which ``available`` [N, M] says what is there."""
        out = torch.full((len(available),), self.together, dtype=torch.float64)
        for pattern, rows in by_pattern(available):
            out[rows] = self.own.get(pattern, self.together)
        return out


def halves(labels: Tensor) -> Tensor:
    """Whether each clip [N] is of the first half: a fixed drawing that splits labelled clips evenly."""
    first = torch.zeros(len(labels), dtype=torch.bool)
    known = has_label(labels).nonzero().squeeze(1)
    order = torch.randperm(len(known), generator=seeded("halves of validation clips", len(known)))
    first[known[order[: (len(known) + 1) // 2]]] = True
    return first


def clip_metrics(
    drawn: Mapping[str, Drawn],
    model: EmotionModel,
    dataset: Dataset,
    split: str,
    protocol: Any,
    inference: Inference,
    seed: int,
    device: str,
) -> ClipMetrics:
    """CRPS, NLL and PICP of every clip of a split, of which ``drawn`` was predicted; empty of binary labels, or without
    validation clips to learn the noise from."""
    if dataset.label_kind != "regression":
        return {}
    own = Forecasts.of(drawn, dataset, split, protocol, seed)
    if split == VALID:
        return own.cross_fitted_metrics()
    seen = draw_protocol(model, dataset, VALID, protocol, inference, seed, device)
    learnt = Forecasts.of(seen, dataset, VALID, protocol, seed)
    scales = learnt.scales(has_label(learnt.labels))
    return {} if scales is None else own.metrics(scales)

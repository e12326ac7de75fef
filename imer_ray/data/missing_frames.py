"""Which frames are available where clips lose frames and not only whole modalities.

Random frames of each modality: Zhang et al., Towards Robust Multimodal Sentiment Analysis with Incomplete Data, NeurIPS
2024, arXiv:2409.20012. The same frames of all modalities, and runs of frames: Zhong et al., Towards Robust Multimodal
Emotion Recognition under Missing Modalities and Distribution Shifts, arXiv:2506.10452 (2025).

Legend: N clips, L_m frames of modality m in l, a, v. Masks {m: bool [N, L_m]} are True where a frame is there; what is
left is always a part of what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.data.missing import MODALITIES, check_rates, rate_settings, seeded

KINDS = ("independent", "joint", "blocks")
GONE = 2.0  # an order behind that of every recorded frame, which is below 1


@dataclass(frozen=True)
class Frames:
    """A share of every clip's frames missing, of each modality as many (see `drop`).

    A modality of which no frame is left is missing, and is recovered as any that is.

    Attributes:
        kind: "independent" (frames of each modality at random), "joint" (the same of all modalities) or "blocks" (one
            run of each modality's frames).
        rates: a setting for each of them.
    """

    kind: str = "independent"
    rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        check_rates(self.rates)

    @property
    def complete(self) -> frozenset[str]:
        """The settings in which nothing recorded is missing."""
        return frozenset({str(0.0)})

    def settings(self) -> list[str]:
        return rate_settings(self.rates)

    def frame_masks(self, setting: str, frames: Mapping[str, Tensor], split: str, seed: int) -> dict[str, Tensor]:
        """What a setting leaves of the frames of a whole split, the same whenever asked."""
        rate = torch.full((len(frames["l"]),), float(setting), dtype=torch.float64)
        return drop(frames, rate, self.kind, seeded(split, "frames", self.kind, setting, seed))

    def training_masks(
        self, frames: Mapping[str, Tensor], generator: torch.Generator, complete: bool = True
    ) -> dict[str, Tensor]:
        """What is left of the frames of training clips, each of which has one of the rates with equal chance; only of
        those above 0 where not even ``complete`` data shall be seen."""
        wanted = [rate for rate in self.rates if complete or rate > 0] or self.rates
        rates = torch.tensor(wanted, dtype=torch.float64)
        choice = torch.randint(len(rates), (len(frames["l"]),), generator=generator, device=generator.device)
        return drop(frames, rates[choice.cpu()], self.kind, generator)


def drop(frames: Mapping[str, Tensor], rate: Tensor, kind: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Drop round(rate x recorded frames) frames of every clip and modality, rate [N].

    A clip that would lose all keeps one frame of one of its modalities, each with equal chance. "joint" drops the same
    places of all modalities whose frames were recorded at the same places; where modalities differ in length, a place
    is a share of the length.
    """
    orders = _orders({m: frames[m].cpu() for m in MODALITIES}, rate, kind, generator)
    left = {}
    for m, order in orders.items():
        there = order < GONE
        left[m] = there & (order.argsort(dim=1, stable=True).argsort(dim=1) >= _num_missing(there, rate)[:, None])
    recorded = torch.stack([(orders[m] < GONE).any(1) for m in MODALITIES], 1)
    kept = torch.where(recorded, _uniform(recorded.shape, generator), -1.0).argmax(1)
    emptied = recorded.any(1) & ~torch.stack([left[m].any(1) for m in MODALITIES], 1).any(1)
    for number, m in enumerate(MODALITIES):
        rows = (emptied & (kept == number)).nonzero().squeeze(1)
        left[m][rows, orders[m][rows].masked_fill(orders[m][rows] == GONE, -1.0).argmax(1)] = True
    return left


def _orders(frames: Mapping[str, Tensor], rate: Tensor, kind: str, generator: torch.Generator) -> dict[str, Tensor]:
    """{m: [N, L_m]}: in which order frames go, numbers in [0, 1); `GONE` where none was recorded."""
    orders = {}
    longest = max(there.shape[1] for there in frames.values())
    shared = _uniform((len(rate), longest), generator) if kind == "joint" else None
    for m, there in frames.items():
        if shared is not None:
            places = (torch.arange(there.shape[1], dtype=torch.float64) + 0.5) * longest / there.shape[1]
            order = shared[:, places.long()]
        elif kind == "blocks":
            count, number = there.sum(1, keepdim=True), there.cumsum(1) - 1
            starts = count - _num_missing(there, rate)[:, None] + 1  # in how many places a run can start
            start = (_uniform((len(rate), 1), generator) * starts).long()
            order = ((number - start) % count.clamp(min=1)) / count.clamp(min=1).double()
        else:
            order = _uniform(there.shape, generator)
        orders[m] = order.masked_fill(~there, GONE)
    return orders


def _num_missing(there: Tensor, rate: Tensor) -> Tensor:
    """[N]: how many frames go of recorded ones [N, L]."""
    return (rate * there.sum(1)).round().long()


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).cpu()

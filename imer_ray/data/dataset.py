"""A data set as the rest of imer_ray sees it, wherever its rows lie."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES

SPLITS = ("train", "valid", "test")
Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""{m: mean and deviation [D_m]} of raw features."""
UNNAMED: Mapping[str, None] = dict.fromkeys(MODALITIES)


class Data(Protocol):
    """A data component: names its content without reading more than it must, and opens it."""

    def fingerprint(self) -> str:
        """A hash of everything the content depends on, never of where it lies."""
        ...

    def load(self) -> Dataset:
        """Open the data; UserError if they are missing or damaged."""
        ...


@dataclass(frozen=True)
class Split:
    """N clips.

    Attributes:
        gather: {m: function of rows [B] that reads just these rows' raw features, float32 [B, L_m, D_m]}.
        frames: {m: bool [N, L_m]}, True where a frame was recorded.
        recorded: bool [N, M].
        labels: float32 [N], NaN where a clip has none.
    """

    gather: Mapping[str, Callable[[Tensor], Tensor]]
    frames: Mapping[str, Tensor]
    recorded: Tensor
    labels: Tensor

    @property
    def presence(self) -> str:
        """A hash of which modalities and frames of the clips are there."""
        digest = hashlib.sha256(self.recorded.numpy().tobytes())
        for m in MODALITIES:
            digest.update(self.frames[m].numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Three splits of clips.

    Attributes:
        dims, lengths: {m: number of features D_m}, {m: number of frames L_m}.
        label_kind: "regression" (in [-3, 3]) or "binary" (-1 and 1).
        fingerprint: hash of the content.
        statistics: by which features are standardised: those of the training clips.
        at_the_end: modalities of which the frames of a shorter clip lie at the end of the L_m.
        feature_names: which features these are, {m: name}, None where it is not known.
    """

    dims: Mapping[str, int]
    lengths: Mapping[str, int]
    label_kind: str
    fingerprint: str
    splits: Mapping[str, Split]
    statistics: Statistics
    at_the_end: frozenset[str] = frozenset()
    feature_names: Mapping[str, str | None] = field(default_factory=lambda: UNNAMED)

    def size(self, split: str) -> int:
        return len(self.splits[split].labels)

    def recorded(self, split: str) -> Tensor:
        """[N, M]: what was recorded, and so may be a condition, a target or scored."""
        return self.splits[split].recorded

    def labels(self, split: str) -> Tensor:
        """[N], NaN where a clip has none."""
        return self.splits[split].labels

    def frames(self, split: str, rows: Tensor) -> dict[str, Tensor]:
        """{m: [B, L_m]}: which frames were recorded of the clips at ``rows`` [B] of a split."""
        part = self.splits[split]
        recorded = part.recorded[rows]
        return {m: part.frames[m][rows] & recorded[:, i, None] for i, m in enumerate(MODALITIES)}

    def batch(self, split: str, indices: Tensor | Sequence[int]) -> Batch:
        """The clips at ``indices`` [B] of a split, in this order."""
        part, rows = self.splits[split], torch.as_tensor(indices, dtype=torch.int64)
        frames = self.frames(split, rows)
        features = {m: standardised(part.gather[m](rows), frames[m], *self._scale[m]) for m in MODALITIES}
        return Batch(features, frames, part.recorded[rows], part.labels[rows], rows)

    @functools.cached_property
    def _scale(self) -> Statistics:
        return in_single_precision(self.statistics)

    def under(self, protocol: Any, setting: str, split: str, seed: int) -> Dataset:  # noqa: ANN401 (a component)
        """The same clips, of which whatever a protocol's setting takes away from ``split`` was not recorded.

        A protocol has ``mask``, as `imer_ray.data.missing.Fixed`, or ``frame_masks``, as
        `imer_ray.data.missing_frames.Frames`. What it takes away is never read.
        """
        part = self.splits[split]
        if hasattr(protocol, "frame_masks"):
            frames = protocol.frame_masks(setting, self.frames(split, torch.arange(self.size(split))), split, seed)
            left = replace(part, frames=frames, recorded=torch.stack([frames[m].any(1) for m in MODALITIES], 1))
        else:
            left = replace(part, recorded=protocol.mask(setting, part.recorded, split, seed))
        return replace(self, splits={**self.splits, split: left})

    def standardised_by(self, statistics: Statistics) -> Dataset:
        """The same clips with features standardised by other clips' ``statistics``: those a model was trained on."""
        return replace(self, statistics=statistics)


def in_single_precision(statistics: Statistics) -> Statistics:
    """Statistics as `standardised` takes them."""
    return {m: (mean.float(), std.float()) for m, (mean, std) in statistics.items()}


def standardised(raw: Tensor, frames: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(raw - mean) / std, float32 [B, L, D], and zero where frames [B, L] are absent.

    All features that a model reads are made so, from a data set's clips and from new ones, in one precision: the same
    clip has the same numbers to the last bit.
    """
    return raw.sub(mean).div_(std).masked_fill_(~frames[..., None], 0.0)


def standardisation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [D] in float64 over the rows of x [N, D]; a constant feature has deviation 1."""
    if len(x) == 0:
        return torch.zeros(x.shape[1], dtype=torch.float64), torch.ones(x.shape[1], dtype=torch.float64)
    mean = x.mean(0, dtype=torch.float64)
    std = (x - mean).square().mean(0).sqrt()
    return mean, torch.from_numpy(usable_std(mean.numpy(), std.numpy()))


def usable_std(mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float64]:
    """The deviation, or 1 where it is no more than rounding: dividing by it would only magnify noise."""
    return np.where(std > 1e-7 * np.maximum(np.abs(mean), 1e-30), std, 1.0)


def settings_fingerprint(**settings: Any) -> str:
    """SHA-256 in hex of JSON values."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, allow_nan=False).encode()).hexdigest()

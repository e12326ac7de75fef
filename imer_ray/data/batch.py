"""What a data set hands to a model."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B clips; L_m frames and D_m features of modality m in ("l", "a", "v").

    Attributes:
        features: {m: float32 [B, L_m, D_m]}, standardised with the training clips' statistics, zero where not recorded.
        frames: {m: bool [B, L_m]}, True where a frame was recorded (False: padding, or the modality was not recorded).
        recorded: bool [B, M].
        labels: float32 [B], NaN where a clip has none.
        index: int64 [B], the clips' rows in their split.
    """

    features: Mapping[str, Tensor]
    frames: Mapping[str, Tensor]
    recorded: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    @functools.cached_property
    def digests(self) -> Mapping[str, NDArray[np.uint64]]:
        """{m: [B]}: a number that tells the content of each clip's recorded frames, wherever they lie; 0 without any.

        It names a clip by what it holds, so that it has the same name in every batch and data set.
        """
        return {m: _digests(self.features[m], self.frames[m]) for m in self.features}

    def select(self, rows: Tensor) -> Batch:
        """Some of the clips, by their places [B'] in the batch."""
        return Batch(
            features={m: x[rows] for m, x in self.features.items()},
            frames={m: x[rows] for m, x in self.frames.items()},
            recorded=self.recorded[rows],
            labels=self.labels[rows],
            index=self.index[rows],
        )

    def with_frames(self, frames: Mapping[str, Tensor]) -> Batch:
        """The same clips as if only these of their frames {m: [B, L_m]} had been recorded."""
        return Batch(
            features={m: x.masked_fill(~frames[m][..., None], 0.0) for m, x in self.features.items()},
            frames=frames,
            recorded=torch.stack([frames[m].any(1) for m in self.features], 1),
            labels=self.labels,
            index=self.index,
        )

    def to(self, device: str | torch.device) -> Batch:
        return Batch(
            features={m: x.to(device, non_blocking=True) for m, x in self.features.items()},
            frames={m: x.to(device, non_blocking=True) for m, x in self.frames.items()},
            recorded=self.recorded.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
        )


def _digests(features: Tensor, frames: Tensor) -> NDArray[np.uint64]:
    x, present = features.cpu().numpy(), frames.cpu().numpy()
    whole = bool(present.all())
    out = np.zeros(len(x), np.uint64)
    for row, (clip, there) in enumerate(zip(x, present, strict=True)):
        content = clip if whole else clip[there]
        if len(content):
            out[row] = int.from_bytes(hashlib.sha256(content.tobytes()).digest()[:8], "little")
    return out

"""What a data set hands to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
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

    def to(self, device: str | torch.device) -> Batch:
        return Batch(
            features={m: x.to(device, non_blocking=True) for m, x in self.features.items()},
            frames={m: x.to(device, non_blocking=True) for m, x in self.frames.items()},
            recorded=self.recorded.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
        )

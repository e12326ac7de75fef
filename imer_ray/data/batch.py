"""What a data set hands to a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.devices import sent


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
    _digests: dict[str, NDArray[np.uint64]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _whole: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.index)

    def digest(self, m: str) -> NDArray[np.uint64]:
        """[B]: a number that tells the content of each clip's recorded frames of modality m, wherever they lie; 0
        without any.

        It names a clip by what it holds, so that it has the same name in every batch and data set.
        """
        if m not in self._digests:
            self._digests[m] = _digest(self.features[m], self.frames[m], self.is_whole(m))
        return self._digests[m]

    def is_whole(self, m: str) -> bool:
        """Whether every clip has every frame of a modality."""
        if m not in self._whole:
            self._whole[m] = bool(self.frames[m].cpu().numpy().all())  # a third of the time that PyTorch takes
        return self._whole[m]

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
            features={m: sent(x, device) for m, x in self.features.items()},
            frames={m: sent(x, device) for m, x in self.frames.items()},
            recorded=sent(self.recorded, device),
            labels=sent(self.labels, device),
            index=sent(self.index, device),
        )


def _digest(features: Tensor, frames: Tensor, is_whole: bool) -> NDArray[np.uint64]:
    x = features.cpu().numpy()
    clips = x if is_whole else [clip[there] for clip, there in zip(x, frames.cpu().numpy(), strict=True)]
    return np.array([_first_word(clip.tobytes()) for clip in clips], np.uint64)


def _first_word(content: bytes) -> int:
    """Of SHA-256; 0 of nothing."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") if content else 0

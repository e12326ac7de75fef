"""What surrounds a clip in its video: the clips before it, or all the others, averaged over spans of the video.

A clip's opinion is easier to read beside the speaker's others (Poria et al., Context-Dependent Sentiment Analysis in
User-Generated Videos, ACL 2017, whose network reads the whole video in both directions).

Legend: N clips in order of video and number, L frames, S = L - 1 spans, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def past_windows(video_id: NDArray[Any], num_frames: int) -> Tensor:
    """[N, L]: the rows of a clip's L - 1 predecessors and, last, its own; N before a video's first clip."""
    rows = np.arange(len(video_id))
    windows = rows[:, None] + np.arange(-num_frames + 1, 1)
    return torch.from_numpy(np.where(windows >= _first(video_id)[:, None], windows, len(rows)))


class VideoSpans:
    """A video's other clips in order, cut into S spans whose sizes differ by at most one, the longer ones first."""

    def __init__(self, video_id: NDArray[Any], num_spans: int) -> None:
        rows = np.arange(len(video_id))
        first = _first(video_id)
        _, video, counts = np.unique(first, return_inverse=True, return_counts=True)
        num_others, place = counts[video] - 1, rows - first
        size, longer = num_others // max(1, num_spans), num_others % max(1, num_spans)
        cuts = np.arange(num_spans + 1) * size[:, None] + np.minimum(np.arange(num_spans + 1), longer[:, None])
        # From places among the others to rows of the table, past the clip itself.
        start = first[:, None] + cuts[:, :-1] + (cuts[:, :-1] >= place[:, None])
        stop = np.maximum(start, first[:, None] + cuts[:, 1:] + (cuts[:, 1:] > place[:, None]))
        self.start, self.stop = torch.from_numpy(start), torch.from_numpy(stop)
        self.holds_clip = torch.from_numpy((start <= rows[:, None]) & (rows[:, None] < stop))

    def __call__(self, values: Tensor) -> Tensor:
        """Sums [N, S, ...] over each span of values [N, ...]."""
        total = torch.cat([values.new_zeros(1, *values.shape[1:]), values.cumsum(0)])
        own = self.holds_clip.view(*self.holds_clip.shape, *[1] * (values.dim() - 1)) * values[:, None]
        return total[self.stop] - total[self.start] - own

    def means(self, rows: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Means [N, S, D] over the known [N] rows [N, D] of each span, zero where it has none, and which have any."""
        count = self(known.long())
        total = self((rows * known[:, None]).double())
        return (total / count.clamp(min=1)[..., None]).float().masked_fill((count == 0)[..., None], 0.0), count > 0


@dataclass(frozen=True)
class Surrounded:
    """N clips, each as the last frame of a sequence whose others are what surrounds it in its video.

    Attributes:
        features: {m: float32 [N, D_m]} of the clips themselves, zero where nothing was recorded.
        recorded: {m: bool [N]}.
    """

    features: Mapping[str, Tensor]
    recorded: Mapping[str, Tensor]
    _rows: Mapping[str, Tensor]  # of which frames are made: clips, an empty row, means
    _known: Mapping[str, Tensor]
    _windows: Tensor

    @classmethod
    def of(
        cls,
        video_id: NDArray[Any],
        features: Mapping[str, NDArray[np.float32]],
        recorded: Mapping[str, NDArray[np.bool_]],
        num_frames: int,
        whole_video: bool,
    ) -> Surrounded:
        """The clips [N] with features {m: [N, D_m]} of which {m: bool [N]} are recorded, in L = ``num_frames`` frames.

        Args:
            whole_video: whether the others are means over spans of the video's other clips, or the clips before.
        """
        N, S = len(video_id), num_frames - 1
        windows = past_windows(video_id, num_frames)
        spans = VideoSpans(video_id, S) if whole_video else None
        if spans:  # their means follow the N clips and the empty row
            windows[:, :-1] = N + 1 + torch.arange(N * S).view(N, S)
        own, there, rows, known = {}, {}, {}, {}
        for m in features:
            there[m] = torch.from_numpy(recorded[m])
            own[m] = torch.from_numpy(features[m]).masked_fill(~there[m][:, None], 0.0)
            # Row N, where windows point before a video's first clip, is zero and absent.
            parts = [(own[m], there[m]), (own[m].new_zeros(1, own[m].shape[1]), there[m].new_zeros(1))]
            if spans:
                means, any_known = spans.means(own[m], there[m])
                parts.append((means.flatten(0, 1), any_known.flatten()))
            rows[m], known[m] = (torch.cat(column) for column in zip(*parts, strict=True))
        return cls(own, there, rows, known, windows)

    def __call__(self, m: str, clips: Tensor) -> Tensor:
        """Features [B, L, D] of clips [B], zero in frames of which nothing is known."""
        return self._rows[m][self._windows[clips]]

    def frames(self, m: str) -> Tensor:
        """[N, L]: the frames of which something is known."""
        return self._known[m][self._windows]

    def clip(self, m: str, clip: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """Features [L, D] of a clip and of which frames [L] something is known; None if itself it was not recorded."""
        if not self.recorded[m][clip]:
            return None
        window = self._windows[clip]
        return self._rows[m][window].numpy(), self._known[m][window].numpy()


def _first(video_id: NDArray[Any]) -> NDArray[np.int64]:
    """[N]: the row of the first clip of each clip's video."""
    rows = np.arange(len(video_id))
    return np.maximum.accumulate(np.where(np.r_[True, video_id[1:] != video_id[:-1]], rows, 0))

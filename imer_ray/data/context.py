"""What surrounds a clip in its video: the clips before it, or all the others, averaged over spans of the video.

A clip's opinion is easier to read beside the speaker's others (Poria et al., Context-Dependent Sentiment Analysis in
User-Generated Videos, ACL 2017, whose network reads the whole video in both directions).

Legend: N clips in order of video and number, L frames, S = L - 1 spans, D features.
"""

from __future__ import annotations

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


def _first(video_id: NDArray[Any]) -> NDArray[np.int64]:
    """[N]: the row of the first clip of each clip's video."""
    rows = np.arange(len(video_id))
    return np.maximum.accumulate(np.where(np.r_[True, video_id[1:] != video_id[:-1]], rows, 0))

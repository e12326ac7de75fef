"""A clip's own frames out of an array that has as many frames for every clip."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.prediction.clip import Frames


def own_frames(x: NDArray[Any], start: int, stop: int, at_the_end: bool, wanted_at_the_end: bool) -> Frames | None:
    """The frames [start, stop) of x [L, D], all of which were recorded; None if there are none.

    Where array and model agree on which side a clip's frames lie, they keep their distance to that side, as the
    training clips' frames did; else only their order counts.
    """
    if stop <= start:
        return None
    first = 0 if not (at_the_end or wanted_at_the_end) else start
    last = len(x) if at_the_end and wanted_at_the_end else stop
    frame = np.arange(first, last)
    return Frames(x[first:last], (start <= frame) & (frame < stop))

"""A clip that is still going on: frames arrive one by one, and an answer can be had at any time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.missing import MODALITIES
from imer_ray.prediction.clip import Clip, ClipError, Reads, read_clip
from imer_ray.prediction.predictor import Prediction, Predictor

Frame = NDArray[Any] | None


class Stream:
    """The frames of a clip so far, of which the last L of each modality are read.

        stream = model.stream()
        stream.push({"l": frame, "v": None})  # a camera's frame was due and did not come
        stream.value

    At any time the answer is that of `Model.predict` about all frames that were pushed, None for those dropped. A
    modality of which no frame came within its last L is missing, and is recovered like any other.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._windows = {m: _Window(predictor.reads.lengths[m]) for m in MODALITIES}
        self._prediction: Prediction | None = None
        self._is_current = True

    def push(self, frames: Mapping[str, Any]) -> None:
        """Add a frame [D] of each modality that is named; None: one was due and was dropped. Others wait.

        Raises:
            ClipError: a frame of another width, something other than numbers, or a modality that is none.
        """
        reads = self._predictor.reads
        read = {m: None if frame is None else _frame(m, frame, reads) for m, frame in frames.items()}
        for m, frame in read.items():
            if m not in self._windows:
                raise ClipError(f"a clip has the modalities {', '.join(MODALITIES)}, not {m!r}")
            self._windows[m].push(frame)
        self._is_current = False

    @property
    def prediction(self) -> Prediction | None:
        """The answer about the frames so far; None while nothing is available."""
        if not self._is_current:
            given = {m: frames for m, window in self._windows.items() if (frames := window.frames())}
            held = {m: frames for m, frames in given.items() if any(frame is not None for frame in frames)}
            try:
                clip: Clip | None = read_clip(held, self._predictor.reads) if held else None
            except ClipError:  # nothing but zeros, which is nothing recorded
                clip = None
            self._prediction = None if clip is None else self._predictor.predict([clip])[0]
            self._is_current = True
        return self._prediction

    @property
    def value(self) -> float:
        """The prediction's value; NaN while nothing is available."""
        return math.nan if self.prediction is None else self.prediction.value


class _Window:
    """The last L frames without those of zeros after them, which are padding unless something follows."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.kept: deque[Frame] = deque(maxlen=length)
        self.zeros: deque[Frame] = deque(maxlen=length)

    def push(self, frame: Frame) -> None:
        if frame is not None and not frame.any():
            self.zeros.append(frame)
            return
        self.kept.extend(self.zeros)
        self.zeros.clear()
        self.kept.append(frame)

    def frames(self) -> list[Frame]:
        return [*self.kept, *self.zeros][: max(self.length, len(self.kept))]


def _frame(m: str, frame: Any, reads: Reads) -> NDArray[Any]:
    if m in MODALITIES:
        values = np.asarray(frame)
        if values.shape != (reads.dims[m],) or values.dtype.kind not in "fiu":
            raise ClipError(f"{m}: a frame has {reads.dims[m]} numbers, and was given {list(values.shape)}")
        return values
    return np.zeros(0)

"""Predictions by the graphs of a pattern, of which one may be for single clips alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.batch import Batch
from imer_ray.runtime.onnx_session import OnnxSession
from imer_ray.runtime.pattern_graph import GraphShape, inputs_of, inputs_of_one


class PatternSession:
    """``session(batch) -> [B]`` for clips of which the modalities of a pattern are available; not to be shared between
    threads.

    Args:
        session: of the graph for any clips.
        for_one: of the graph for one clip that has every frame, which takes half the time; None where there is none.
        seed: with which noise is drawn.
    """

    def __init__(self, session: OnnxSession, for_one: OnnxSession | None, shape: GraphShape, seed: int) -> None:
        self._session, self.shape, self.seed = session, shape, seed
        self._for_one = None if for_one is None else for_one.for_one()

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        if self._for_one is not None and len(batch) == 1 and self._is_whole(batch):
            return self._for_one(inputs_of_one(batch, self.shape, self.seed))
        return self._session(inputs_of(batch, self.shape, self.seed))

    def _is_whole(self, batch: Batch) -> bool:
        return all(batch.is_whole(m) for m in self.shape.pattern)

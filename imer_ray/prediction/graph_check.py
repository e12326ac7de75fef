"""Whether a graph predicts what the model does, and how exactly.

Most graphs differ from PyTorch by 1e-6, what rounding makes. A hundred steps of a network that enlarges rounding make
more of it, and of PyTorch's own as well: two programs of one model are then as far from each other as either is from
the truth, which is what PyTorch computes in double precision. What can be asked of a graph is to be as near to it as
PyTorch in single precision is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_map_only

from imer_ray.runtime.pattern_graph import GraphShape, PatternGraph, example

NUM_CLIPS = 5
# Of a prediction, or of its size where that is above 1. A graph that is off by more is another one, or its model
# enlarges rounding.
TOLERANCE = 1e-3
NUM_CLIPS_IN_DOUBLE = 16
MAX_RATIO = 4.0  # of a graph's distance from double precision to PyTorch's
QUANTILES = (0.5, 0.9)  # of the clips' distances, which MAX_RATIO is for; single ones are a hundred times the median
Answers = Callable[[tuple[Any, ...]], NDArray[np.float32]]


class Exactness(NamedTuple):
    """How far a graph's predictions of random clips are from the model's, relative where these are above 1.

    Attributes:
        from_eager: the largest distance from PyTorch's predictions.
        from_double: quantiles (`QUANTILES`) of the distances from predictions in double precision; None where
            ``from_eager`` is within `TOLERANCE`, so that nobody need ask.
        eager_from_double: the same of PyTorch's predictions in single precision.
    """

    from_eager: float
    from_double: tuple[float, ...] | None = None
    eager_from_double: tuple[float, ...] | None = None

    @property
    def is_the_models(self) -> bool:
        """Whether the graph is within `TOLERANCE` of PyTorch, or at most `MAX_RATIO` times as far from the truth."""
        if self.from_double is None or self.eager_from_double is None:
            return self.from_eager <= TOLERANCE
        pairs = zip(self.from_double, self.eager_from_double, strict=True)
        return math.isfinite(self.from_eager) and all(own <= MAX_RATIO * eager for own, eager in pairs)

    def __str__(self) -> str:
        if self.from_double is None or self.eager_from_double is None:
            return f"differs from PyTorch by {self.from_eager:.0e}"
        (own, _), (eager, _) = self.from_double, self.eager_from_double
        return f"differs from double precision by {own:.0e} (median), where PyTorch does by {eager:.0e}"


def exactness(graph: PatternGraph, shape: GraphShape, answers: Answers, is_whole: bool = False) -> Exactness:
    """Ask a graph and the model it was made of about random clips.

    Args:
        answers: of the graph, to what `imer_ray.runtime.pattern_graph.example` gives.
        is_whole: every frame of the clips is there.
    """
    given = _clips(shape, NUM_CLIPS, is_whole)
    from_eager = float(_distances(answers(given), _predictions(graph, given)).max())
    if from_eager <= TOLERANCE:
        return Exactness(from_eager)
    given = _clips(shape, NUM_CLIPS_IN_DOUBLE, is_whole)
    doubled = tree_map_only(torch.Tensor, lambda x: x.double() if x.is_floating_point() else x, given)
    truth = _predictions(copy.deepcopy(graph).double(), doubled)
    own, eager = (_distances(found, truth) for found in (answers(given), _predictions(graph, given)))
    return Exactness(from_eager, _quantiles(own), _quantiles(eager))


def _clips(shape: GraphShape, num_clips: int, is_whole: bool) -> tuple[Any, ...]:
    features, frames, *noise = example(shape, num_clips)
    return features, {m: torch.ones_like(there) for m, there in frames.items()} if is_whole else frames, *noise


def _predictions(graph: PatternGraph, given: tuple[Any, ...]) -> NDArray[Any]:
    with torch.no_grad():
        return graph(*given).numpy()


def _distances(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    distances = np.abs(found.astype(np.float64) - expected) / np.maximum(1, np.abs(expected))
    return np.where(np.isnan(distances), np.inf, distances)


def _quantiles(distances: NDArray[np.float64]) -> tuple[float, ...]:
    """Those of `QUANTILES`, each of them some clip's."""
    return tuple(float(np.quantile(distances, q, method="higher")) for q in QUANTILES)

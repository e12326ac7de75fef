"""Activations that a network's settings name.

Sums in another order round otherwise, by 1e-8 of a loss, as where two workers share a batch. That stays as small in a
network whose gradient is continuous. At the kink of a ReLU it does not: once a unit of one clip is on the other side of
zero, that clip's share of the gradient is there or not, and the trainings part by 1e-3 and more (docs/results.md, "Two
workers beside one"). So ours are smooth; those published have ReLUs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


def check_activation(name: str) -> None:
    """
    Raises:
        ValueError: it is none of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {name}")

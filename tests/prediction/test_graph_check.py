"""A graph is the model's if it is as near to the truth as PyTorch is, however much the model enlarges rounding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from imer_ray.prediction.graph_check import MAX_RATIO, TOLERANCE, Exactness, exactness
from imer_ray.runtime.pattern_graph import GraphShape

SHAPE = GraphShape("l", {"l": (4, 3)}, (), ())


class Chaos(torch.nn.Module):
    """As a graph of a pattern that enlarges its rounding 65,536-fold: points of the logistic map part by
    a factor of two a step."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps

    def forward(self, features: Any, frames: Any, noise: Any = None, order: int = 0) -> torch.Tensor:
        x = torch.sigmoid((features["l"] * frames["l"][..., None]).sum((1, 2)))
        for _ in range(self.num_steps):
            x = 4 * x * (1 - x) if order == 0 else 4 * x - 4 * x * x
        return x


def answers(model: Chaos, order: int = 0, off: float = 0.0) -> Any:
    def asked(given: tuple[Any, ...]) -> NDArray[np.float32]:
        return model(*given, order=order).numpy() + np.float32(off)

    return asked


def checked(model: Chaos, found: Any) -> Exactness:
    return exactness(model, SHAPE, found)  # type: ignore[arg-type]


def test_a_graph_that_is_within_the_tolerance_is_compared_with_pytorch_alone() -> None:
    found = checked(Chaos(1), answers(Chaos(1), order=1))
    assert found.is_the_models and 0 <= found.from_eager < 1e-6 and found.from_double is None
    assert "from PyTorch by" in str(found)


def test_where_rounding_is_enlarged_another_order_of_operations_is_the_model() -> None:
    found = checked(Chaos(16), answers(Chaos(16), order=1))
    assert found.from_eager > TOLERANCE and found.from_double is not None and found.eager_from_double is not None
    assert found.is_the_models and found.from_double[0] <= found.from_double[1]
    assert "double precision" in str(found)


@pytest.mark.parametrize("other", [answers(Chaos(15)), answers(Chaos(16), off=0.1), answers(Chaos(1))])
def test_another_model_is_refused_though_rounding_is_enlarged(other: Any) -> None:
    assert not checked(Chaos(16), other).is_the_models


def test_a_graph_that_gives_no_numbers_is_refused() -> None:
    assert not checked(Chaos(1), answers(Chaos(1), off=math.nan)).is_the_models


def test_the_ratio_holds_for_every_quantile() -> None:
    eager = (1e-4, 1e-2)
    near, far = MAX_RATIO * 0.99, MAX_RATIO * 1.01
    assert Exactness(1.0, (near * eager[0], near * eager[1]), eager).is_the_models
    assert not Exactness(1.0, (far * eager[0], eager[1]), eager).is_the_models
    assert not Exactness(1.0, (eager[0], far * eager[1]), eager).is_the_models
